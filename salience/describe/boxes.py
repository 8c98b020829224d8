"""Kinds of boxes, the boxes that each offers by name, and the classes of a box."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from salience import registry
from salience.errors import UnknownName

LONG = ("timm", "torchvision")  # kinds with hundreds of boxes, which are listed by pattern only


def list_kinds() -> list[dict[str, Any]]:
    """List the kinds of boxes in plain values.

    >>> "toy" in [kind["kind"] for kind in list_kinds()]
    True
    """
    return [describe_kind(name) for name in registry.list_names("boxes")]


def describe_kind(name: str) -> dict[str, Any]:
    """Describe a kind of boxes: what its module says first, and the boxes themselves where they are few.

    >>> describe_kind("toy")["boxes"]
    ['toy:colour', 'toy:corner', 'toy:constant']
    """
    module = _find_module(name)
    about = (inspect.getdoc(module) or inspect.getdoc(module.load) or "").split("\n")[0]
    return {"kind": name, "about": about, "boxes": [] if name in LONG else _list_boxes(name)}


def match_boxes(pattern: str) -> list[str]:
    """List the boxes of a pattern such as "timm:*resnet*"; UnknownName where there is none.

    >>> match_boxes("toy:co*")
    ['toy:colour', 'toy:corner', 'toy:constant']
    """
    name, _, rest = pattern.partition(":")
    if name not in registry.list_names("boxes"):
        raise UnknownName.of("box kind (kind:name)", pattern, registry.list_names("boxes"))
    known = _list_boxes(name)
    matching = [each for each in known if fnmatch(each, f"{name}:{rest or '*'}")]
    if not matching:
        about = describe_kind(name)["about"]
        raise UnknownName.of("box", pattern, known, f"a kind without a list of names: {about}")
    return matching


def match_classes(names: Sequence[str], pattern: str | None = None) -> list[dict[str, Any]]:
    """List the classes of a pattern such as "*cat*" or "cat" with their indices; UnknownName where there is none.

    >>> match_classes(["tabby cat", "beagle"], "cat")
    [{'index': 0, 'name': 'tabby cat'}]
    """
    wanted = pattern and (pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*").lower()
    classes = [{"index": index, "name": name} for index, name in enumerate(names)]
    matching = [each for each in classes if not wanted or fnmatch(str(each["name"]).lower(), wanted)]
    if not matching:
        raise UnknownName.of("class", str(pattern), [part.strip() for name in names for part in name.split(",")])
    return matching


def _list_boxes(kind: str) -> list[str]:
    return [f"{kind}:{each}" for each in getattr(_find_module(kind), "names", tuple)()]


def _find_module(name: str) -> ModuleType:
    for point in entry_points(group="salience.boxes"):
        if point.name == name:
            module: ModuleType = point.load()
            return module
    return import_module(f"salience.boxes.{name}")
