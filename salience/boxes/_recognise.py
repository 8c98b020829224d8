"""Find the kind of box for an object: each kind is tried, special before general; no library is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from salience.errors import BoxError
from salience.types import BlackBox

KINDS = ("keras", "openclip", "hf", "timm", "torchvision", "torch", "estimator", "function")


def recognise(thing: Any, options: Mapping[str, Any]) -> BlackBox:
    """Make a box of an object; BoxError where no kind recognises it."""
    for point in entry_points(group="salience.boxes"):  # other packages' kinds first
        kind = point.load()
        if hasattr(kind, "recognises") and kind.recognises(thing, options):
            return kind.wrap(thing, **options)  # type: ignore[no-any-return]  # every kind's `wrap` returns a box
    for name in KINDS:
        kind = import_module(f"salience.boxes.{name}")
        if kind.recognises(thing, options):
            return kind.wrap(thing, **options)  # type: ignore[no-any-return]  # as above
    raise BoxError(f"expected a box (a spec, a torch module or a function), got {type(thing).__name__}")


def comes_from(thing: Any, library: str) -> bool:
    """Say whether a class of the object, or of those that it inherits from, is of a library, by module name."""
    return any(f"{cls.__module__}.".startswith(f"{library}.") for cls in type(thing).__mro__)
