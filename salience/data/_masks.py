"""Where an object is, from polygons and from run lengths. A pixel at (row r, column c) covers r…r+1 by c…c+1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from salience.errors import DataError

Polygon = Annotated[list[float], msgspec.Meta(min_length=6)]


class Runs(msgspec.Struct):
    """Run lengths, plain or compressed."""

    counts: str | list[int]
    size: tuple[int, int] | None = None


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
        if not 0 <= bits < 64 or shift > 40:
            raise DataError(f"expected compressed run lengths, got {char!r} among them: the mask is damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("expected whole run lengths, got the last one cut short: the mask is damaged")
    return found


def rasterise_coco(said: Any, size: tuple[int, int]) -> Any:
    """Draw a COCO segmentation: polygons, run lengths, or compressed run lengths."""
    try:
        shape = msgspec.convert(said, list[Polygon] | Runs)
    except ValueError as problem:  # also a text that is no Unicode
        raise DataError(f"expected polygons of three points or more, or run lengths, got others ({problem})") from None
    if isinstance(shape, Runs):
        if shape.size not in (None, size):
            raise DataError(f"expected run lengths of a picture of {size}, got those of one of {shape.size}")
        return decode_runs(unpack_runs(shape.counts) if isinstance(shape.counts, str) else shape.counts, size)
    for points in shape:
        x, y = np.asarray(points[: len(points) // 2 * 2]).reshape(-1, 2).T
        if len(points) % 2 or not np.isfinite(points).all():
            raise DataError(f"expected polygons of finite numbers in pairs, got {points[:6]} …: mend the file")
        expect_box(x.min(), y.min(), x.max(), y.max(), "a polygon", size)
    return np.any([fill_polygon(each, size) for each in shape], axis=0)


def expect_box(
    left: float, top: float, right: float, bottom: float, where: str, size: tuple[int, int] | None = None
) -> tuple[float, float, float, float]:
    """Return a box of finite numbers that has some of the picture in it; `size` is the picture's, where it is known."""
    height, width = size or (math.inf, math.inf)
    inside = right > 0 and left < width and bottom > 0 and top < height
    if not (all(map(math.isfinite, (left, top, right, bottom))) and left < right and top < bottom and inside):
        said = ", ".join(f"{float(each):g}" for each in (left, top, right, bottom))
        within = "the picture" if size is None else f"a picture of {height} × {width}"
        raise DataError(
            f"expected a box whose left is less than its right and top than bottom, inside {within}, got {said} in {where}: "
            "mend it"
        )
    return left, top, right, bottom
