"""Where an object is, from polygons and from run lengths. A pixel at (row r, column c) covers r…r+1 by c…c+1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from salience.errors import DataError


def fill_polygon(points: Sequence[float], size: tuple[int, int]) -> Any:
    """Fill a polygon x, y, x, y, …: the pixels whose centre has an odd number of its sides to the left."""
    height, width = size
    x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    after_x, after_y = np.roll(x, -1), np.roll(y, -1)
    rows = np.arange(height)[:, None] + 0.5
    row, side = np.nonzero((y <= rows) != (after_y <= rows))
    along = (row + 0.5 - y[side]) / (after_y[side] - y[side])
    crossed = x[side] + along * (after_x[side] - x[side])
    turns = np.zeros((height, width + 1), dtype=np.int64)
    np.add.at(turns, (row, np.clip(np.ceil(crossed - 0.5), 0, width).astype(np.int64)), 1)
    return turns.cumsum(1)[:, :width] % 2 == 1


def decode_runs(counts: Sequence[int], size: tuple[int, int]) -> Any:
    """Lay run lengths out, outside first, down the columns."""
    height, width = size
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise DataError(
            f"expected run lengths that add up to {height} × {width} pixels, got {sum(counts)}: the mask is damaged"
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def unpack_runs(text: str) -> list[int]:
    """Read COCO's compressed run lengths.

    A character holds five bits, the low ones first; its sixth says that more follow, and the last one's fifth is the
    sign. From the fourth number on, each is a difference to the one two before.
    """
    found: list[int] = []
    value = shift = 0
    for char in text:
        bits = ord(char) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value = shift = 0
    return found


def rasterise_coco(said: Any, size: tuple[int, int]) -> Any:
    """Draw a COCO segmentation: polygons, run lengths, or compressed run lengths."""
    if isinstance(said, list):
        return np.any([fill_polygon(each, size) for each in said], axis=0)
    counts = said["counts"]
    return decode_runs(unpack_runs(counts) if isinstance(counts, str) else counts, size)
