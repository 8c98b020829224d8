"""Names. A folder is a register: a file `de_cam.py` holds a class `DeCam`, called `de-cam` by people.

Other packages join through entry points in the groups `salience.methods`, `.measures`, `.boxes`, `.data`, `.trainers`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlencode

from typing_extensions import Doc

from salience.case import Data
from salience.errors import SettingError, UnknownName
from salience.types import BlackBox, GreyBox, OpenBox

DEFAULT_BOX = "zoo:efficientnet-lite0"


@dataclass(frozen=True)
class Setting:
    """A field of a method: what a command or a page offers."""

    name: str
    type: Any
    help: str
    default: Any


def list_names(folder: str) -> tuple[str, ...]:
    """List what a folder of the package registers, by the names that people use, plus the entry points."""
    return tuple(sorted([*_list_own(folder), *(point.name for point in entry_points(group=f"salience.{folder}"))]))


def find_method(name: str) -> type[Any]:
    """Return the class of a method; UnknownName offers close matches."""
    return _find_class("methods", name)


def make_method(name: str, **settings: Any) -> Any:
    """Make a method with settings; a wrong setting is named with close matches."""
    return _make(find_method(name), name, settings)


def make_trainer(name: str, **settings: Any) -> Any:
    """Make a trainer with settings."""
    return _make(_find_class("trainers", name), name, settings)


def make_measure(spec: Any) -> Any:
    """Make a measure of a spec `name`, `name/protocol` or `name/protocol?setting=value&…`; a measure stays as it is."""
    if not isinstance(spec, str):
        return spec
    path, _, query = spec.partition("?")
    name, _, protocol = path.partition("/")
    cls = _find_class("measures", name)
    known = {each.name: each for each in list_settings(cls)}
    given = {key: _read_value(known[key], text) if key in known else text for key, text in parse_qsl(query)}
    if protocol:
        offered = get_args(known["protocol"].type)
        if protocol not in offered:
            raise UnknownName.of(f"protocol of {name}", protocol, offered)
        given["protocol"] = protocol
    return _make(cls, name, given)


def stamp(measure: Any) -> str:
    """Say a measure and everything that was chosen as the spec that makes it again."""
    changed = [each for each in list_settings(type(measure))[1:] if getattr(measure, each.name) != each.default]
    query = urlencode({each.name: _write_value(getattr(measure, each.name)) for each in changed}, safe=",:/")
    return f"{name_of(measure)}/{measure.protocol}" + (f"?{query}" if query else "")


def _find_class(folder: str, name: str) -> type[Any]:
    name = name.lower().replace("_", "-")
    if name in _list_own(folder):  # the package's own first: asking what is installed takes longer
        written = name.replace("++", "-plus-plus")
        module = import_module(f"salience.{folder}.{written.replace('-', '_')}")
        found: type[Any] = getattr(module, "".join(word.capitalize() for word in written.split("-")))
        return found
    for point in (each for each in entry_points(group=f"salience.{folder}") if each.name == name):
        return point.load()  # type: ignore[no-any-return]  # a class
    raise UnknownName.of(folder.removesuffix("s"), name, list_names(folder))


@cache
def _list_own(folder: str) -> tuple[str, ...]:
    package = import_module(f"salience.{folder}")
    return tuple(_to_spoken(found.name) for found in iter_modules(package.__path__) if not found.name.startswith("_"))


def _make(cls: type[Any], name: str, settings: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(cls)}
    for given in (each for each in settings if each not in known):
        raise UnknownName.of(f"setting of {name}", given, known)
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})  # as in JSON


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


def need_of(cls: type[Any]) -> type[Any]:
    """Return the protocol that a method's annotation of `box` asks for."""
    hints = get_type_hints(cls.many if hasattr(cls, "many") else cls.__call__)
    found = hints.get("box", BlackBox)
    return found if found in (GreyBox, OpenBox) else BlackBox


def name_of(method: Any) -> str:
    """Say what people call this method."""
    cls = method if inspect.isclass(method) else type(method)
    return _to_spoken("".join("-" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("-"))


def _to_spoken(written: str) -> str:
    return written.replace("_", "-").replace("-plus-plus", "++")


def list_settings(cls: type[Any]) -> tuple[Setting, ...]:
    """List a method's fields; the help is the `Doc` in each field's annotation."""
    if not is_dataclass(cls):
        return ()
    hints = get_type_hints(cls, include_extras=True)
    return tuple(Setting(f.name, *_split_doc(hints[f.name]), default=f.default) for f in fields(cls))


def _split_doc(hint: Any) -> tuple[Any, str]:
    """Return a field's type, and what its `Doc` says."""
    if get_origin(hint) is not Annotated:
        return hint, ""
    return hint.__origin__, next((each.documentation for each in hint.__metadata__ if isinstance(each, Doc)), "")


def open_box(spec: Any, **options: Any) -> BlackBox:
    """Make a box of a spec `kind:name?option=value&…`, a torch module, or a plain function; a box stays as it is.

    Kinds are the files of `salience/boxes`: `timm:resnet50`, `torchvision:vgg16`, `hf:google/vit-base-patch16-224`,
    `py:package.module:attribute`, `toy:colour`, `zoo:efficientnet-lite0`. Options given here win over the spec's.
    """
    if isinstance(spec, str):
        if spec == "default":
            spec = DEFAULT_BOX
        kind, _, rest = spec.partition(":")
        name, _, query = rest.partition("?")
        return _find_kind(kind, spec).load(name, **(dict(parse_qsl(query)) | options))  # type: ignore[no-any-return]  # every kind's `load` returns a box
    if isinstance(spec, BlackBox):
        if options:
            raise SettingError(f"expected no options for a box that is made already, got {', '.join(options)}")
        return spec
    kind = "torch" if any(cls.__module__.startswith("torch.nn") for cls in type(spec).__mro__) else "function"
    return _find_kind(kind, kind).wrap(spec, **options)  # type: ignore[no-any-return]  # as above


def open_data(spec: Any, **options: Any) -> Data:
    """Open a data set of a spec `kind:name?option=value&…`; the kinds are the files of `salience/data`.

    `folder:PATH` (a folder a class), `csv:FILE`, `coco:FILE.json`, `voc:PATH`, `shapes:NAME`.
    """
    if not isinstance(spec, str):
        return spec  # type: ignore[no-any-return]  # a data set that is open already
    kind, _, rest = spec.partition(":")
    name, _, query = rest.partition("?")
    return _find_kind(kind, spec, "data").load(name, **(dict(parse_qsl(query)) | options))  # type: ignore[no-any-return]  # as above


def _find_kind(kind: str, spec: str, folder: str = "boxes") -> ModuleType | Any:
    if kind in _list_own(folder):
        return import_module(f"salience.{folder}.{kind}")
    for point in (each for each in entry_points(group=f"salience.{folder}") if each.name == kind):
        return point.load()
    what = "box" if folder == "boxes" else folder
    raise UnknownName.of(
        f"{what} kind (kind:name)", kind or spec, list_names(folder), f"one of {', '.join(list_names(folder))}"
    )
