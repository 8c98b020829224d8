"""Names. A folder is a register: a file `de_cam.py` holds a class `DeCam`, called `de-cam` on the command line.

Other packages join through entry points in the groups `salience.methods`, `.measures`, `.boxes`, `.data`, `.trainers`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from typing_extensions import Doc

from salience import limits
from salience.errors import SettingError, UnknownName, show


@dataclass(frozen=True)
class Setting:
    """A field of a method: what a command or a page offers.

    >>> list_settings(find_method("occlusion"))[0].name
    'window'
    """

    name: str
    type: Any
    help: str
    default: Any


def list_names(folder: str) -> tuple[str, ...]:
    """List what a folder of the package registers, by name, plus the entry points.

    >>> "grad-cam" in list_names("methods")
    True
    """
    return tuple(sorted([*_list_own(folder), *(point.name for point in entry_points(group=f"salience.{folder}"))]))


def find_method(name: str) -> type[Any]:
    """Return the class of a method; UnknownName offers close matches.

    >>> find_method("grad-cam").__name__
    'GradCam'
    """
    return find_class("methods", name)


def make_method(name: str, **settings: Any) -> Any:
    """Make a method with settings; a wrong setting is named with close matches.

    >>> make_method("rise", masks=500).masks
    500
    """
    return make(find_method(name), name, settings)


def make_trainer(name: str, **settings: Any) -> Any:
    """Make a trainer with settings.

    >>> type(make_trainer("plain")).__name__
    'Plain'
    """
    return make(find_class("trainers", name), name, settings)


def find_class(folder: str, name: str) -> type[Any]:
    """Return the class of a name in a folder of the package, or of an entry point.

    >>> find_class("measures", "deletion").__name__
    'Deletion'
    """
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


def make(cls: type[Any], name: str, settings: Mapping[str, Any]) -> Any:
    """Make an object of a class with settings; UnknownName offers close matches of one that it does not have.

    >>> make(find_method("rise"), "rise", {"mask": 500})
    Traceback (most recent call last):
        ...
    salience.errors.UnknownName: expected the name of a setting of rise, got 'mask': did you mean masks?
    """
    known = {field.name for field in fields(cls)}
    for given in (each for each in settings if each not in known):
        raise UnknownName.of(f"setting of {name}", given, known)
    return cls(**read_settings(cls, settings))


def read_settings(cls: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read settings by the types of a class's fields: a list is a tuple, as in JSON; a text is no number, 2.5 no count.

    >>> read_settings(find_method("extremal-perturbation"), {"areas": [0.1, 0.2]})
    {'areas': (0.1, 0.2)}
    """
    types = {each.name: each.type for each in list_settings(cls)}
    read = {key: _read_setting(key, types[key], value) for key, value in settings.items()}
    limits.expect_settings(read)
    return read


def _read_setting(name: str, hint: Any, value: Any) -> Any:
    if type(value).__module__ == "numpy" and not value.ndim:
        value = value.item()  # a number of numpy's is one
    if isinstance(value, str) and Literal in (get_origin(hint), *map(get_origin, get_args(hint))):
        return value  # the class names its words itself
    if hint is str and isinstance(value, (int, float, os.PathLike)) and not isinstance(value, bool):
        return str(value)  # a fill of 0.5, the path of a file
    try:
        return msgspec.convert(value, hint)
    except TypeError:  # a type of another package's, which checks it itself
        return value
    except (msgspec.ValidationError, ValueError):
        raise SettingError(
            f"expected {name_type(hint)} for {name}, got {show(value)}: see `salience list methods`"
        ) from None


def name_type(hint: Any) -> str:
    """Name a type in words.

    >>> name_type(int | None), name_type(Literal["mean", "max"]), name_type(tuple[float, ...])
    ('a whole number', 'mean or max', 'several of a number')
    """
    parts = [each for each in get_args(hint) if each not in (NoneType, ...)]
    if get_origin(hint) is Literal:
        *most, last = map(str, parts)
        return f"{', '.join(most)} or {last}" if most else last
    if get_origin(hint) in (tuple, list):
        return f"several of {' or '.join(map(name_type, parts))}"
    if parts:
        return " or ".join(map(name_type, parts))
    names: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def find_need(cls: type[Any]) -> type[Any]:
    """Return the protocol that a method's annotation of `box` asks for.

    >>> find_need(find_method("rise")).__name__, find_need(find_method("grad-cam")).__name__
    ('BlackBox', 'OpenBox')
    """
    from salience.types import BlackBox, GreyBox, OpenBox  # here, so that names and settings can be listed without torch

    hints = get_type_hints(cls.many if hasattr(cls, "many") else cls.__call__)
    found = hints.get("box", BlackBox)
    return found if found in (GreyBox, OpenBox) else BlackBox


def find_name(method: Any) -> str:
    """Return the registered name of a class or an object.

    >>> find_name(find_method("grad-cam++"))
    'grad-cam++'
    """
    cls = method if inspect.isclass(method) else type(method)
    return _to_spoken("".join("-" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("-"))


def _to_spoken(written: str) -> str:
    return written.replace("_", "-").replace("-plus-plus", "++")


def list_settings(cls: type[Any]) -> tuple[Setting, ...]:
    """List a method's fields; the help is the `Doc` in each field's annotation.

    >>> [setting.name for setting in list_settings(find_method("occlusion"))][:2]
    ['window', 'stride']
    """
    if not is_dataclass(cls):
        return ()
    hints = get_type_hints(cls, include_extras=True)
    return tuple(Setting(f.name, *_split_doc(hints[f.name]), default=f.default) for f in fields(cls))


def _split_doc(hint: Any) -> tuple[Any, str]:
    """Return a field's type, and what its `Doc` says."""
    if get_origin(hint) is not Annotated:
        return hint, ""
    return hint.__origin__, next((each.documentation for each in hint.__metadata__ if isinstance(each, Doc)), "")


def find_kind(kind: str, spec: str, folder: str = "boxes") -> ModuleType | Any:
    """Return the module of a kind of boxes or data sets.

    >>> find_kind("toy", "toy:colour").names()
    ('colour', 'corner', 'constant')
    """
    if kind in _list_own(folder):
        return import_module(f"salience.{folder}.{kind}")
    for point in (each for each in entry_points(group=f"salience.{folder}") if each.name == kind):
        return point.load()
    what = "box" if folder == "boxes" else folder
    raise UnknownName.of(
        f"{what} kind (kind:name)", kind or spec, list_names(folder), f"one of {', '.join(list_names(folder))}"
    )


def runs_code(kind: str) -> bool:
    """Say whether to open something of a kind may run code of whoever wrote its file: unless it declares RUNS_NOTHING.

    >>> runs_code("py"), runs_code("timm"), runs_code("no such kind")
    (True, False, False)
    """
    folders = [each for each in ("boxes", "data") if kind in list_names(each)]
    return any(getattr(find_kind(kind, kind, each), "RUNS_NOTHING", False) is not True for each in folders)
