"""Numbers as people write them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from salience.errors import PictureError, show

MOST = 64  # numbers at once: a band each


def read_numbers(value: Any, what: str) -> list[float]:
    """Read a number, several of them, or a text with commas between.

    >>> read_numbers("4,3,2", "bands"), read_numbers(4095, "white")
    ([4.0, 3.0, 2.0], [4095.0])
    """
    try:
        parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
        numbers = [float(part) for part in parts]
    except Exception:  # noqa: BLE001  # whatever an object raises that is no number
        numbers = []
    if not 0 < len(numbers) <= MOST or not all(map(math.isfinite, numbers)) or isinstance(value, bool):
        raise PictureError(f"expected a number or several with commas between for {what}, got {show(value)}")
    return numbers
