"""Algebra on maps."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import binary_dilation
from scipy.stats import rankdata, spearmanr

from salience.engine import maps
from tests.helpers import apart, noise, same


def test_ranks_with_ties_are_scipys() -> None:
    """Equal values share the mean of their ranks."""
    values = (noise(200) * 20).floor()
    assert same(maps.rank(values), torch.from_numpy(rankdata(values.numpy())) - 1)


@pytest.mark.parametrize("levels", [3, 50, 10**6])
def test_agreement_is_spearmans_with_ties(levels: int) -> None:
    """LIME-like maps have large ties, which a plain argsort would break at will."""
    one, other = ((noise(9, 11, seed=seed) * levels).floor() for seed in (1, 2))
    assert maps.rank_agreement(one, one + other) == pytest.approx(
        spearmanr(one.flatten().numpy(), (one + other).flatten().numpy()).statistic
    )


def test_a_constant_map_agrees_with_nothing() -> None:
    """It has no ranks to compare."""
    assert maps.rank_agreement(torch.ones(4, 4), noise(4, 4)) == 0
    assert maps.rank_agreement(noise(4, 4), noise(4, 4)) == pytest.approx(1)


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_dilation_grows_by_so_many_pixels(pixels: int) -> None:
    """The same as a square of 2·pixels + 1 in scipy."""
    marked = noise(12, 17) > 0.97
    known = binary_dilation(marked.numpy(), torch.ones(2 * pixels + 1, 2 * pixels + 1).numpy())
    assert torch.equal(maps.dilate(marked, pixels), torch.from_numpy(known))


def test_a_region_lies_above_its_share_of_the_range() -> None:
    """Strictly above min + t (max − min), whatever the offset."""
    saliency = torch.tensor([[-2.0, -1.0], [1.0, 8.0]])
    assert maps.threshold(saliency, 0.3).tolist() == [[False, False], [False, True]]
    assert maps.threshold(saliency, 0.2).tolist() == [[False, False], [True, True]]
    assert not maps.threshold(torch.ones(3, 3), 0.3).any()


def test_overlap_is_intersection_over_union() -> None:
    """Two empty regions are the same region."""
    one, other = torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]])
    assert maps.intersection_over_union(one, other) == pytest.approx(1 / 3)
    assert maps.intersection_over_union(one & False, other & False) == 1


def test_resizing_to_the_same_size_changes_nothing() -> None:
    """Not even by rounding."""
    saliency = noise(5, 6)
    assert maps.resize(saliency, (5, 6)) is saliency
    assert same(maps.resize(torch.full((3, 3), 0.7), (7, 5)), torch.full((7, 5), 0.7), 1e-7)


def test_a_useless_map_is_said_in_words() -> None:
    """A blank map drawn without a word looks like an answer."""
    assert maps.find_flaws(noise(3, 3)) == []
    assert "constant (0 everywhere)" in maps.find_flaws(torch.zeros(3, 3))[0]
    assert "not finite" in maps.find_flaws(torch.tensor([[1.0, float("nan")]]))[0]


@pytest.mark.parametrize("side", [3, 7, 32, 40])
@pytest.mark.parametrize("size", [(48, 48), (45, 31)])
def test_enlarging_is_bilinear_by_either_way(side: int, size: tuple[int, int]) -> None:
    """Matrices for few cells, torch's own for many."""
    small = noise(2, side, side)
    known = torch.nn.functional.interpolate(small[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    assert apart(maps.enlarge(small, size), known) < 1e-12


@pytest.mark.parametrize("size", [(6, 4), (12, 8), (5, 8), (24, 24)])
def test_pooling_averages_whether_or_not_the_grid_divides_the_sides(size: tuple[int, int]) -> None:
    """By additions, or as torch does it."""
    large = noise(2, 24, 24)
    known = torch.nn.functional.adaptive_avg_pool2d(large[:, None], size)[:, 0]
    assert apart(maps.pool(large, size), known) < 1e-12
