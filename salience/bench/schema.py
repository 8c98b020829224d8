"""What a grid file may say: the type and range of every value, checked before anything is made of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from salience import limits
from salience.errors import GridError

Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Names = Annotated[list[str], msgspec.Meta(min_length=1)]
Class = str | Annotated[int, msgspec.Meta(ge=0, le=limits.NUMBER)]
Plain = str | int | float | bool

SETTINGS: dict[str, Any] = {  # beside the axes
    "measures": Names,
    "seeds": Annotated[list[Seed], msgspec.Meta(min_length=1)],
    "target": Class | Annotated[list[Class], msgspec.Meta(min_length=2, max_length=2)],
    "right": bool,
    "batch": Annotated[int, msgspec.Meta(ge=1, le=limits.BATCH)],
    "controls": bool,
}
METHODS: dict[str, Any] = {"boxes": Names, "budget": Plain}  # the rest are a method's own settings, for it to check
DATA: dict[str, Any] = {"boxes": Names, "pictures": Annotated[int, msgspec.Meta(ge=1, le=limits.NUMBER)], "draw": Seed}
WORDS = {"`": "", "array": "list", "bool": "true or false", "float": "number", "int": "whole number", "str": "text"}
OPTIONS = Plain | list[Plain]  # of a kind of boxes or data, for it to check


def read_settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read what stands beside the axes of a grid; GridError for a value that is none.

    >>> read_settings({"batch": "8"})
    Traceback (most recent call last):
        ...
    salience.errors.GridError: expected batch as whole number, got '8': see docs/bench.md
    """
    checked = {key: _convert(value, SETTINGS[key], key) for key, value in raw.items()}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in checked.items()}


def read_entry(axis: str, label: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an entry; GridError for one that is none.

    >>> read_entry("data", "photos", {"spec": "folder:photos", "pictures": -1})
    Traceback (most recent call last):
        ...
    salience.errors.GridError: expected data.photos.pictures as whole number >= 1, got -1: see docs/bench.md
    """
    limits.expect_name(label, "label of a grid")
    types = {"methods": METHODS, "data": DATA}.get(axis, {})
    for key, value in given.items():
        name = f"{axis}.{label}.{key}"
        _convert(value, types.get(key, OPTIONS), name)
        for each in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(each, float) and not math.isfinite(each):
                raise GridError(f"expected {name} as a finite number, got {each}: see docs/bench.md")
    return given


def _convert(value: Any, kind: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except ValueError as problem:  # also a text that is no Unicode
        wanted = re.search(r"Expected (.*?)(, got .*| - at .*)?$", str(problem))
        kinds = "another value" if wanted is None else re.sub(r"`|\w+", lambda word: WORDS.get(word[0], word[0]), wanted[1])
        said = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}…"
        raise GridError(f"expected {name} as {kinds}, got {said}: see docs/bench.md") from None
