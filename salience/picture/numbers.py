"""Numbers as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from salience.errors import PictureError


def read_numbers(value: Any, what: str) -> list[float]:
    """Read a number, several of them, or a text with commas between.

    >>> read_numbers("4,3,2", "bands"), read_numbers(4095, "white")
    ([4.0, 3.0, 2.0], [4095.0])
    """
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, Iterable) else [value]
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        raise PictureError(f"expected a number or several with commas between for {what}, got {value!r}") from None
