"""Polygons and run lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from salience.data import _masks
from salience.errors import DataError


def slow_polygon(points: list[float], size: tuple[int, int]) -> np.ndarray:
    """Walk to the left from the centre of every pixel, and count the sides on the way."""
    corners = list(zip(points[::2], points[1::2], strict=True))
    found = np.zeros(size, dtype=bool)
    for row in range(size[0]):
        for column in range(size[1]):
            for (x, y), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
                if (y <= row + 0.5) != (y2 <= row + 0.5):
                    found[row, column] ^= x + (row + 0.5 - y) / (y2 - y) * (x2 - x) <= column + 0.5
    return found


@settings(deadline=None, max_examples=40)
@given(some.lists(some.floats(-4, 16), min_size=6, max_size=12).filter(lambda each: len(each) % 2 == 0))
def test_a_polygon_has_the_pixels_whose_centre_is_inside(points: list[float]) -> None:
    """Whatever its form, and wherever it leaves the picture."""
    assert np.array_equal(_masks.fill_polygon(points, (9, 11)), slow_polygon(points, (9, 11)))


def test_whole_numbers_are_edges_of_pixels() -> None:
    """A square from 1 to 4 covers nine pixels, as a box does."""
    known = np.zeros((5, 6), dtype=bool)
    known[1:4, 2:5] = True
    assert np.array_equal(_masks.fill_polygon([2, 1, 5, 1, 5, 4, 2, 4], (5, 6)), known)


def test_run_lengths_go_down_the_columns() -> None:
    """Outside first; the written form is the one that COCO's own tool gives for this mask and for a large one."""
    known = np.zeros((5, 6), dtype=bool)
    known[1:4, 2:5] = True
    known[2, 3] = False
    counts = [11, 3, 2, 1, 1, 1, 2, 3, 6]
    for said in ({"counts": counts}, {"counts": ";32NO0124"}):
        assert np.array_equal(_masks.rasterise_coco(said, (5, 6)), known)
    assert _masks.unpack_runs(";32NO0124") == counts
    large = np.zeros((40, 50), dtype=bool)
    large[3:37, 5:48] = True
    text = "[6R1" + "6" + "0" * 83 + "]2"
    assert np.array_equal(_masks.rasterise_coco({"counts": text}, (40, 50)), large)


def test_a_damaged_mask_is_said() -> None:
    """Run lengths that do not fill the picture."""
    with pytest.raises(DataError, match="expected run lengths that add up to 5 × 6 pixels, got 29"):
        _masks.rasterise_coco({"counts": [20, 9]}, (5, 6))
