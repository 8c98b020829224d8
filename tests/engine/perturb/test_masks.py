"""Masks against their slow definitions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salience.engine.perturb import masks
from salience.engine.perturb.designs import Design
from salience.errors import SettingError
from tests.helpers import noise, same

LIKE = torch.zeros(0, dtype=torch.float64)


def drawn(count: int, size: tuple[int, int], side: int, keep: float = 0.5, **more: object) -> torch.Tensor:
    """Draw all masks at once."""
    return torch.cat([lot.rasterise(LIKE) for lot in masks.sample_grids(count, size, side, keep, 0, **more)])


def slow_mask(cells: torch.Tensor, shift: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Enlarge to the canvas pixel by pixel: half-pixel positions, mirrored neighbours; then crop."""
    side = len(cells)
    mask = torch.zeros(size, dtype=torch.float64)

    def neighbours(at: int, canvas: int) -> list[tuple[int, float]]:
        u = (at + 0.5) * side / canvas - 0.5
        low = math.floor(u)
        pairs = []
        for index, weight in ((low, 1 - (u - low)), (low + 1, u - low)):
            inside = -index if index < 0 else 2 * (side - 1) - index if index > side - 1 else index
            pairs.append((inside, weight))
        return pairs

    canvas = [(side + 1) * math.ceil(length / side) for length in size]
    for y in range(size[0]):
        for x in range(size[1]):
            for row, down in neighbours(y + shift[0], canvas[0]):
                for column, across in neighbours(x + shift[1], canvas[1]):
                    mask[y, x] += down * across * cells[row, column]
    return mask


@pytest.mark.parametrize(("size", "side"), [((8, 8), 3), ((9, 14), 4), ((7, 7), 7), ((12, 5), 2)])
def test_a_mask_is_its_grid_enlarged_mirrored_and_cropped(size: tuple[int, int], side: int) -> None:
    """Two small matrices around the grid do what the plain loops over the canvas do."""
    lot = next(masks.sample_grids(4, size, side, 0.5, seed=1))
    for mask, cells, shift in zip(lot.rasterise(LIKE), lot.cells, lot.shifts.tolist(), strict=True):
        assert same(mask, slow_mask(cells, (shift[0], shift[1]), size))


@pytest.mark.parametrize("keep", [0.5, 0.1])
def test_masks_have_the_mean_and_variance_of_the_paper(keep: float) -> None:
    """Weights are convex, so the mean is p; a bilinear cell keeps (2/3)² of a Bernoulli's variance."""
    found = drawn(4000, (56, 56), 7, keep)
    assert float(found.mean()) == pytest.approx(keep, abs=0.01)
    assert float(found.var(0).mean()) == pytest.approx(keep * (1 - keep) * 4 / 9, rel=0.05)
    assert float(found.mean(0).std()) < 0.02  # everywhere, not only on average
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-12


def test_shifts_reach_every_offset_of_a_cell_and_no_more() -> None:
    """The paper shifts by 0 … C−1 along each axis."""
    shifts = torch.cat([lot.shifts for lot in masks.sample_grids(2000, (20, 30), 5, 0.5, 0)])
    assert shifts[:, 0].unique().tolist() == list(range(4))
    assert shifts[:, 1].unique().tolist() == list(range(6))


@pytest.mark.parametrize("design", get_args(Design))
@pytest.mark.parametrize("start", [0, 1, 255, 256, 300, 599])
def test_masks_are_the_same_from_any_starting_point(start: int, design: Design) -> None:
    """Each lot has its own address, so nothing depends on what was drawn before."""
    assert torch.equal(drawn(600, (8, 8), 3, start=start, design=design), drawn(600, (8, 8), 3, design=design)[start:])


def test_fewer_masks_are_the_first_of_more() -> None:
    """A longer run goes on where a shorter one stopped."""
    assert torch.equal(drawn(100, (8, 8), 3), drawn(700, (8, 8), 3)[:100])


def test_masks_are_the_same_in_any_batch() -> None:
    """Slicing a lot slices its masks."""
    lot = next(masks.sample_grids(50, (8, 8), 3, 0.5, 0))
    pieces = [lot[begin : begin + 7].rasterise(LIKE) for begin in range(0, 50, 7)]
    assert same(torch.cat(pieces), lot.rasterise(LIKE))


TABLE = [
    (45, 8, 1089, 25, 31.6, 36),
    (43, 8, 1089, 25, 28.9, 36),
    (42, 7, 1369, 36, 36, 36),
    (40, 7, 1369, 25, 32.7, 36),
    (39, 7, 1369, 25, 31.0, 36),
    (37, 7, 1369, 25, 27.9, 36),
]


@pytest.mark.parametrize(("window", "stride", "count", "least", "mean", "most"), TABLE)
def test_windows_count_and_cover_as_iassa_needs(
    window: int, stride: int, count: int, least: int, mean: float, most: int
) -> None:
    """The official code's grid, counted by hand for 224 pixels."""
    grid = masks.lay_windows((224, 224), window, stride)
    over = grid.accumulate(torch.ones(len(grid)))
    assert len(grid) == count
    assert (float(over.min()), float(over.max())) == (least, most)
    assert float(over.mean()) == pytest.approx(mean, abs=0.05)


def test_a_window_is_zero_inside_and_one_elsewhere() -> None:
    """Left edges at s−W, 2s−W, …, clipped at the borders."""
    grid = masks.lay_windows((5, 6), 3, 2)
    expected = []
    for top in (-1, 1, 3):
        for left in (-1, 1, 3, 5):
            mask = torch.ones(5, 6, dtype=torch.float64)
            mask[max(top, 0) : top + 3, max(left, 0) : left + 3] = 0
            expected.append(mask)
    assert torch.equal(grid.rasterise(LIKE), torch.stack(expected))


def test_covering_by_corners_equals_summing_masks() -> None:
    """Four corners and two running sums make the same sum as the masks themselves."""
    grid, values = masks.lay_windows((13, 9), 5, 2), noise(len(masks.lay_windows((13, 9), 5, 2)))
    assert same(grid.accumulate(values), torch.einsum("n,nhw->hw", values, 1 - grid.rasterise(LIKE)))


def test_counting_a_region_equals_looking_at_each_pixel() -> None:
    """An integral image answers for all windows at once."""
    grid, region = masks.lay_windows((13, 9), 5, 2), noise(13, 9) > 0.6
    assert torch.equal(grid.count_pixels(region), ((1 - grid.rasterise(LIKE)) * region).sum((1, 2)).long())


sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


@settings(max_examples=150, deadline=None)
@given(size=sizes, window=st.integers(1, 80), ratio=st.integers(1, 9))
def test_the_first_cover_hides_every_pixel_and_nothing_is_lost(size: tuple[int, int], window: int, ratio: int) -> None:
    """Occlusion may stop after the first cover, and in the end has seen each window once."""
    stride = max(1, window // ratio)
    order, cover = masks.order_windows(size, window, stride)
    known = masks.lay_windows(size, window, stride)
    assert sorted(order.edges.tolist()) == sorted(known.edges.tolist())
    assert bool((order[:cover].accumulate(torch.ones(cover)) >= 1).all())


@settings(max_examples=50, deadline=None)
@given(size=sizes, window=st.integers(1, 40), stride=st.integers(1, 40))
def test_any_grid_of_windows_covers_every_pixel(size: tuple[int, int], window: int, stride: int) -> None:
    """A stride beyond the window would leave gaps, and is refused."""
    if stride > window:
        with pytest.raises(SettingError, match="expected 1 ≤ stride ≤ window"):
            masks.lay_windows(size, window, stride)
    else:
        grid = masks.lay_windows(size, window, stride)
        assert bool((grid.accumulate(torch.ones(len(grid))) >= 1).all())


def test_the_first_cover_is_as_small_as_its_windows_allow() -> None:
    """At 224 pixels, windows of 32 at steps of 8: 7 × 7 windows side by side."""
    order, cover = masks.order_windows((224, 224), 32, 8)
    assert cover == 49
    edges = sorted({top for top, _, _, _ in order[:cover].edges.tolist()})
    assert all(later - earlier == 32 for earlier, later in pairwise(edges))
