"""Text and objects: a spec such as `timm:resnet50?weights=none` or `deletion/rise-2018` becomes what it names, and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from importlib import import_module
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl, urlencode

from salience import registry
from salience.case import Data
from salience.errors import BoxError, DataError, PlacesError, SettingError, UnknownName, catch_exit, show, translate
from salience.registry import Setting
from salience.types import BlackBox, GreyBox

ASKING = ("corners", "least")  # options of a detector
LIKE = "like"  # and of an embedding: the picture to be like
DEFAULT_BOX = "zoo:efficientnet-lite0"
MOST = 200  # letters of a spec that an error repeats
T = TypeVar("T")


def open_box(spec: Any, **options: Any) -> BlackBox:
    """Make a box of a spec `kind:name?option=value&…`, a torch module, or a plain function; a box stays as it is.

    Kinds are the files of `salience/boxes`: `timm:resnet50`, `torchvision:vgg16`, `hf:google/vit-base-patch16-224`,
    `py:package.module:attribute`, `toy:colour`, `zoo:efficientnet-lite0`. Options given here win over the spec's.

    >>> open_box("toy:colour?size=64").size
    (64, 64)
    """
    if isinstance(spec, str):
        if spec == "default":
            spec = DEFAULT_BOX
        kind, _, rest = spec.partition(":")
        name, _, query = rest.partition("?")
        given = _read_query(query) | options
        with catch_exit(f"the box {spec}"), translate(BoxError, f"to load the box {spec}", "check its name and options"):
            return _meet(partial(_load_kind, registry.find_kind(kind, spec).load, kind, name), given)  # type: ignore[no-any-return]  # a box
    if isinstance(spec, BlackBox):
        if options:
            raise SettingError(f"expected no options for a box that is made already, got {', '.join(options)}")
        return spec
    what = type(spec).__name__
    with catch_exit(f"the box {what}"), translate(BoxError, f"to make a box of a {what}", "check it and its options"):
        return _meet(partial(import_module("salience.boxes._recognise").recognise, spec), options)  # type: ignore[no-any-return]  # a box


def _load_kind(load: Callable[..., Any], kind: str, name: str, given: Mapping[str, Any]) -> Any:
    _expect_known(load, kind, given)
    return load(name, **given)


def _read_query(query: str) -> dict[str, str]:
    """Read `option=value&…`."""
    try:
        return dict(parse_qsl(query))
    except ValueError as problem:  # more parts than anybody needs
        raise SettingError(f"expected options as in ?size=224&batch=8, got {show(query)} ({problem})") from None


def _expect_known(load: Callable[..., Any], kind: str, given: Mapping[str, Any]) -> None:
    """Name an option that a kind does not have, with close matches."""
    first, *others = inspect.signature(load).parameters.values()
    known = [each.name for each in others if each.kind is not each.VAR_KEYWORD]
    unknown = [each for each in given if each == first.name or (len(known) == len(others) and each not in known)]
    if unknown:
        raise UnknownName.of(f"option of {kind}:", unknown[0], known)


def open_named_box(spec: str, named_in: str, instead: str = "open it yourself") -> BlackBox:
    """Open a box that a file names, rather than a person: only of a kind that runs nothing.

    >>> open_named_box("py:mine.py:make", named_in="the file maps.salience", instead="name it by aux=")
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected a box that runs no code in the file maps.salience, got 'py:mine.py:make': name it ...
    """
    return open_box(expect_harmless(spec, named_in, instead))


def expect_harmless(value: T, named_in: str, instead: str = "open it yourself") -> T:
    """Refuse what a file says where a text in it, at any depth, names a kind of boxes or data that may run code.

    >>> expect_harmless({"features": "timm:resnet18?weights=none"}, "the file")
    {'features': 'timm:resnet18?weights=none'}
    """
    for text in _list_texts(value):
        kind, colon, _ = text.partition(":")
        if colon and registry.runs_code(kind):
            said = text if len(text) <= MOST else f"{text[:MOST]}…"
            raise BoxError(f"expected a box that runs no code in {named_in}, got {said!r}: {instead}, if you trust it")
    return value


def _list_texts(value: Any) -> Iterator[str]:
    """Yield every text of a plain value, and the options of those that are specs."""
    if isinstance(value, str):
        yield value
        yield from (each for _, text in parse_qsl(value.partition("?")[2]) for each in _list_texts(text))
    elif isinstance(value, Mapping):
        yield from (each for pair in value.items() for part in pair for each in _list_texts(part))
    elif isinstance(value, Sequence):
        yield from (each for part in value for each in _list_texts(part))


def _meet(make: Callable[[dict[str, Any]], Any], options: Mapping[str, Any]) -> Any:
    """Meet a box as it is loaded; a function may cost money, and is met before the first question.

    A model that answers for places is made a box that can be asked about them.
    """
    asked = {name: value for name, value in options.items() if name in ASKING}
    try:
        box = make({name: value for name, value in options.items() if name not in (*ASKING, LIKE)})
        if isinstance(box, GreyBox):
            box.meet()
    except PlacesError as model:
        return import_module("salience.boxes._questions.recognise").make_askable(model, **asked)
    if asked:
        raise SettingError(f"expected a detector for {', '.join(asked)}, got {box.name}, which scores classes: leave it out")
    if LIKE in options:
        return import_module("salience.boxes._questions.similarity").make_alike(box, options[LIKE])
    return box


def open_data(spec: Any, **options: Any) -> Data:
    """Open a data set of a spec `kind:name?option=value&…`; the kinds are the files of `salience/data`.

    `folder:PATH` (a folder a class), `csv:FILE`, `coco:FILE.json`, `voc:PATH`, `shapes:NAME`.

    >>> open_data("shapes:plain", count=3).name
    'shapes:plain?count=3&seed=0&size=224'
    """
    if isinstance(spec, Data):
        return spec
    if not isinstance(spec, str):
        raise DataError(f"expected a data set (a spec, or one that is open), got {show(spec)}: see docs/data.md")
    kind, _, rest = spec.partition(":")
    name, _, query = rest.partition("?")
    given = _read_query(query) | options
    with translate(DataError, f"to open the data {spec}", "check its name and options"):
        load = registry.find_kind(kind, spec, "data").load
        if next(iter(inspect.signature(load).parameters)) in given:
            raise UnknownName.of(f"option of {kind}:", "name", [])
        return load(name, **given)  # type: ignore[no-any-return]  # as above


def make_measure(spec: Any) -> Any:
    """Make a measure of a spec `name`, `name/protocol` or `name/protocol?setting=value&…`; a measure stays as it is.

    >>> make_measure("deletion/rise-2018")
    Deletion(protocol='rise-2018', step=None)
    """
    if not isinstance(spec, str):
        if isinstance(spec, type) or not is_dataclass(spec) or not hasattr(spec, "protocol"):
            raise SettingError(
                f"expected a measure's spec or an object of one, got {show(spec)}: see `salience list measures`"
            )
        return spec
    path, _, query = spec.partition("?")
    name, _, protocol = path.partition("/")
    cls = registry.find_class("measures", name)
    known = {each.name: each for each in registry.list_settings(cls)}
    given = {key: _read_value(known[key], text) if key in known else text for key, text in parse_qsl(query)}
    if protocol:
        offered = get_args(known["protocol"].type)
        if protocol not in offered:
            raise UnknownName.of(f"protocol of {name}", protocol, offered)
        given["protocol"] = protocol
    return registry.make(cls, name, given)


def write_measure(measure: Any) -> str:
    """Write a measure and its changed settings as the spec that makes it again.

    >>> write_measure(make_measure("deletion/rise-2018?step=4"))
    'deletion/rise-2018?step=4'
    """
    changed = [each for each in registry.list_settings(type(measure))[1:] if getattr(measure, each.name) != each.default]
    query = urlencode({each.name: _write_value(getattr(measure, each.name)) for each in changed}, safe=",:/")
    return f"{registry.find_name(measure)}/{measure.protocol}" + (f"?{query}" if query else "")


def _read_value(setting: Setting, text: str) -> Any:
    """Read a setting's value off a spec, by the type of its field."""
    kinds = [each for each in (*get_args(setting.type), setting.type) if each in (bool, int, float, str)]
    try:
        if get_origin(setting.type) is tuple:
            return tuple(float(each) for each in text.split(","))
        kind = kinds[0] if kinds else str
        return text == "true" if kind is bool else kind(text)
    except ValueError:
        raise SettingError(f"expected a number for {setting.name}, got {text!r}") from None


def _write_value(value: Any) -> str:
    said = ",".join(map(_write_value, value)) if isinstance(value, tuple) else str(value)
    return said.lower() if isinstance(value, bool) else said
