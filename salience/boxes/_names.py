"""The names of classes, however people write them down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from salience import limits
from salience.errors import BoxError, SettingError, translate


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
    with translate(SettingError, "names of classes", "give a list of texts"):
        return tuple(limits.expect_name(str(each), "class") for each in classes) or None


def match_class_names(
    names: Sequence[str] | None, count: int, box: str, published: str | None
) -> tuple[tuple[str, ...], str]:
    """Return the names of the classes, numbered where there are none, and say where they come from.

    Names that were given have to be as many as there are classes; names that were `published` by somebody, for another
    head, are dropped.

    >>> match_class_names(None, 2, "net.onnx", None)
    (('class 0', 'class 1'), '2, without names')
    """
    if names is not None and len(names) == count:
        return tuple(names), f"{count}, with names ({published or 'given'})"
    if names is not None and not published:
        raise BoxError(
            f"expected {count} names of classes, one for each score of {box}, got {len(names)}: "
            "give as many, in the order of the scores"
        )
    dropped = "" if names is None else f", for {published} names {len(names)}: its head is another now"
    return tuple(f"class {index}" for index in range(count)), f"{count}, without names{dropped}"


def _read_file(path: Path) -> Any:
    try:
        text = limits.read_text(path, encoding="utf-8-sig")
    except FileNotFoundError:
        raise BoxError(f"expected the names of the classes in {path}, a line each, got no such file") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "no text"
        raise BoxError(f"expected the names of the classes in {path}, a line each, got {reason}") from None
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
    named = {
        number: limits.expect_name(str(name), "class")
        for number, (_, name) in zip(numbers, pairs, strict=True)
        if number is not None
    }
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
