"""Options of a box, given as values or as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from salience.errors import BoxError, SettingError
from salience.picture import Preparation


def split_options(base: Preparation | None, options: dict[str, Any]) -> tuple[Preparation, dict[str, Any]]:
    """Split options into a preparation (over what is published) and what is the box's own. Text is read as numbers."""
    rest = dict(options)
    given: dict[str, Any] = {}
    if "size" in rest:
        lengths = [int(part) for part in _numbers(rest.pop("size"))]
        given["size"] = (lengths[0], lengths[-1])
    if "resize" in rest:
        lengths = [int(part) for part in _numbers(rest.pop("resize"))]
        given["resize"] = lengths[0] if len(lengths) == 1 else tuple(lengths)
    for key in ("mean", "std"):
        if key in rest:
            values = _numbers(rest.pop(key))
            given[key] = tuple(values * 3 if len(values) == 1 else values)
    if "filter" in rest:
        given["filter"] = rest.pop("filter")
    if "channels" in rest:
        rest["channels"] = int(rest["channels"])
    if base is None and "size" not in given:
        raise BoxError("expected the size of the images that this network takes, got none: give size=224 (and mean, std)")
    if base is None:
        return Preparation(**given), rest
    return (replace(base, **given, source=f"{base.source}, changed") if given else base), rest


def _numbers(value: Any) -> list[float]:
    parts = (
        value.replace("x", ",").split(",") if isinstance(value, str) else value if isinstance(value, Sequence) else [value]
    )
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        raise SettingError(f"expected a number or several with commas between, got {value!r}") from None
