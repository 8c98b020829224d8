"""Names. A folder is a register: a file `de_cam.py` holds a class `DeCam`, called `de-cam` by people.

Other packages join through entry points in the groups `salience.methods` and `salience.boxes`.
"""

from __future__ import annotations

import inspect
import io
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from salience.errors import SettingError, UnknownName
from salience.types import BlackBox, GreyBox, OpenBox

DEFAULT_BOX = "zoo:efficientnet-lite0"


@dataclass(frozen=True)
class Setting:
    """A field of a method: what a command or a page offers."""

    name: str
    type: Any
    default: Any
    help: str


def names(folder: str) -> tuple[str, ...]:
    """List what a folder of the package registers, by the names that people use, plus the entry points."""
    package = import_module(f"salience.{folder}")
    own = [_spoken(found.name) for found in iter_modules(package.__path__) if not found.name.startswith("_")]
    return tuple(sorted([*own, *(point.name for point in entry_points(group=f"salience.{folder}"))]))


def method(name: str) -> type[Any]:
    """Return the class of a method; UnknownName offers close matches."""
    name = name.lower().replace("_", "-")
    for point in entry_points(group="salience.methods"):
        if point.name == name:
            found: type[Any] = point.load()
            return found
    if name not in names("methods"):
        raise UnknownName.of("method", name, names("methods"))
    written = name.replace("++", "-plus-plus")
    module = import_module(f"salience.methods.{written.replace('-', '_')}")
    cls: type[Any] = getattr(module, "".join(word.capitalize() for word in written.split("-")))
    return cls


def make(name: str, **settings: Any) -> Any:
    """Make a method with settings; a wrong setting is named with close matches."""
    cls = method(name)
    known = {field.name for field in fields(cls)}
    for given in settings:
        if given not in known:
            raise UnknownName.of(f"setting of {name}", given, known)
    return cls(**settings)


def need(cls: type[Any]) -> type[Any]:
    """Return the protocol that a method's annotation of `box` asks for."""
    hints = get_type_hints(cls.many if hasattr(cls, "many") else cls.__call__)
    found = hints.get("box", BlackBox)
    return found if found in (GreyBox, OpenBox) else BlackBox


def called(method: Any) -> str:
    """Say what people call this method."""
    cls = method if inspect.isclass(method) else type(method)
    return _spoken("".join("-" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("-"))


def _spoken(written: str) -> str:
    return written.replace("_", "-").replace("-plus-plus", "++")


def settings(cls: type[Any]) -> tuple[Setting, ...]:
    """List a method's fields; the help is the comment that stands behind each in the source."""
    if not is_dataclass(cls):
        return ()
    hints, comments = get_type_hints(cls), _comments(cls)
    return tuple(Setting(f.name, hints[f.name], f.default, comments.get(f.name, "")) for f in fields(cls))


@cache
def _comments(cls: type[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    line = ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(cls)).readline):
        if token.type == tokenize.NAME and not line:
            line = token.string
        elif token.type == tokenize.COMMENT and line:
            found.setdefault(line, token.string.lstrip("# "))
        elif token.type in (tokenize.NEWLINE, tokenize.NL):
            line = ""
    return found


def box(spec: Any, **options: Any) -> BlackBox:
    """Make a box of a spec `kind:name?option=value&…`, a torch module, or a plain function; a box stays as it is.

    Kinds are the files of `salience/boxes`: `timm:resnet50`, `torchvision:vgg16`, `hf:google/vit-base-patch16-224`,
    `py:package.module:attribute`, `toy:colour`, `zoo:efficientnet-lite0`. Options given here win over the spec's.
    """
    if isinstance(spec, str):
        if spec == "default":
            spec = DEFAULT_BOX
        kind, _, rest = spec.partition(":")
        name, _, query = rest.partition("?")
        return _kind(kind, spec).load(name, **(dict(parse_qsl(query)) | options))  # type: ignore[no-any-return]  # every kind's `load` returns a box
    if isinstance(spec, BlackBox):
        if options:
            raise SettingError(f"expected no options for a box that is made already, got {', '.join(options)}")
        return spec
    kind = "torch" if any(cls.__module__.startswith("torch.nn") for cls in type(spec).__mro__) else "function"
    return _kind(kind, kind).wrap(spec, **options)  # type: ignore[no-any-return]  # as above


def _kind(kind: str, spec: str) -> ModuleType | Any:
    loaded: Mapping[str, Any] = {point.name: point for point in entry_points(group="salience.boxes")}
    if kind in loaded:
        return loaded[kind].load()
    kinds: Iterable[str] = names("boxes")
    if kind not in kinds:
        raise UnknownName.of("box kind (kind:name)", spec, kinds, f"one of {', '.join(kinds)}")
    return import_module(f"salience.boxes.{kind}")
