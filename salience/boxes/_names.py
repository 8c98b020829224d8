"""The names of classes, however people write them down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from salience.errors import BoxError, SettingError


def read_class_names(classes: Any) -> tuple[str, ...] | None:
    """Read names of classes: a sequence, a file, or a dictionary of numbers and names either way round.

    A file has a name a line, or is JSON that holds a list or a dictionary. Names are in the order of the scores.

    >>> read_class_names({"zebra": 2, "ant": 0, "bee": 1})
    ('ant', 'bee', 'zebra')
    >>> read_class_names({0: "ant", 1: "bee"})
    ('ant', 'bee')
    """
    if classes is None:
        return None
    if isinstance(classes, (str, Path)):
        return read_class_names(_read_file(Path(classes)))
    if isinstance(classes, Mapping):
        return _order(classes)
    if not isinstance(classes, Sequence) and not hasattr(classes, "__iter__"):
        raise SettingError(f"expected names of classes (a list, a file or a dictionary), got {type(classes).__name__}")
    return tuple(str(each) for each in classes) or None


def _read_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        raise BoxError(f"expected the names of the classes in {path}, a line each, got no such file") from None
    if path.suffix.lower() != ".json":
        return text.splitlines()
    try:
        return json.loads(text)
    except ValueError as problem:
        raise BoxError(f"expected JSON with the names of the classes in {path}, got {problem}") from None


def _order(classes: Mapping[Any, Any]) -> tuple[str, ...]:
    """Order names by their numbers, whichever of the two are the keys."""
    for pairs in (classes.items(), [(value, key) for key, value in classes.items()]):
        numbers = [_to_number(number) for number, _ in pairs]
        if None not in numbers:
            break
    else:
        raise SettingError("expected a dictionary of numbers and names of classes, got one without numbers")
    named = {number: str(name) for number, (_, name) in zip(numbers, pairs, strict=True) if number is not None}
    if len(named) < len(classes):
        raise SettingError("expected a number of its own for each name of a class, got one number twice")
    if sorted(named) != list(range(len(named))):
        gap = next(number for number in range(len(named) + 1) if number not in named)
        raise SettingError(f"expected names for the classes from 0 to {len(named) - 1}, got none for class {gap}")
    return tuple(named[number] for number in range(len(named)))


def _to_number(value: Any) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int(value) if not isinstance(value, float) or value.is_integer() else None
    except (TypeError, ValueError):
        return None
