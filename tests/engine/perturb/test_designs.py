"""Designs of random masks: what each promises, and that each mask alone is RISE's."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from scipy import stats

from salience.engine import seeding
from salience.engine.perturb import designs
from salience.engine.perturb.designs import BLOCK, SOBOL, Design
from salience.errors import SettingError

NAMES = get_args(Design)


def drawn(design: Design, count: int = 4096, side: int = 5, keep: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw cells and shifts."""
    return designs.sample(design, count, side, keep, seeding.generator(0, "test"))


@pytest.mark.parametrize("design", NAMES)
def test_a_mask_alone_is_made_of_independent_coins(design: Design) -> None:
    """Each cell is kept with p, two cells have nothing to do with each other, and the number kept is binomial."""
    cells, shifts = drawn(design, 2**15)
    flat = cells.flatten(1)
    assert flat.mean(0).sub(0.5).abs().max() < 0.015
    assert torch.corrcoef(flat.T).fill_diagonal_(0).abs().max() < 0.03
    counts = torch.bincount(flat.sum(1).long(), minlength=26) / len(flat)
    assert counts.sub(torch.from_numpy(stats.binom.pmf(range(26), 25, 0.5))).abs().max() < 0.01
    assert stats.kstest(shifts.flatten().numpy(), "uniform").statistic < 0.02
    assert 0 <= shifts.min() < shifts.max() < 1


@pytest.mark.parametrize("design", [each for each in NAMES if each != "antithetic"])
def test_other_keep_probabilities_are_kept_too(design: Design) -> None:
    """A fair coin is not the only one."""
    cells, _ = drawn(design, 2**14, keep=0.2)
    assert float(cells.mean()) == pytest.approx(0.2, abs=0.005)
    assert float(cells.sum((1, 2)).var()) == pytest.approx(25 * 0.2 * 0.8, rel=0.05)


def test_antithetic_pairs_are_complements_under_one_shift() -> None:
    """What one keeps the other hides."""
    cells, shifts = drawn("antithetic", 300)
    assert bool((cells[0::2] + cells[1::2] == 1).all())
    assert torch.equal(shifts[0::2], shifts[1::2])


def test_stratified_counts_take_one_from_each_share_of_the_binomial() -> None:
    """Sorted within a block, the j-th number lies between the quantiles j/32 and (j + 1)/32."""
    cells, _ = drawn("stratified")
    counts = cells.sum((1, 2)).unflatten(0, (-1, BLOCK)).sort(1).values
    for number in range(BLOCK):
        low, high = stats.binom.ppf([number / BLOCK, (number + 1) / BLOCK], 25, 0.5)
        assert low <= counts[:, number].min()
        assert counts[:, number].max() <= high


@pytest.mark.parametrize("keep", [0.5, 0.25])
def test_a_sobol_block_keeps_every_cell_equally_often(keep: float) -> None:
    """Of 256 points of the sequence, any cell's coordinate is below 1/4 in 64, below 1/2 in 128."""
    cells, shifts = drawn("sobol", keep=keep)
    assert bool((cells.unflatten(0, (-1, SOBOL)).sum(1) == keep * SOBOL).all())
    assert bool((shifts.unflatten(0, (-1, SOBOL)).mul(4).long().eq(0).sum(1) == SOBOL // 4).all())


@pytest.mark.parametrize("design", NAMES)
def test_blocks_have_nothing_to_do_with_each_other(design: Design) -> None:
    """Or errors found from their spread would be wrong."""
    cells, _ = drawn(design, 2**16)
    means = cells.mean((1, 2)).unflatten(0, (-1, SOBOL))
    odd = cells[:, 2, 2].unflatten(0, (-1, SOBOL))[:, 5]
    assert abs(float(torch.corrcoef(torch.stack([odd[:-1], odd[1:]]))[0, 1])) < 0.25
    assert abs(float(torch.corrcoef(torch.stack([means[:-1, 7], means[1:, 7]]))[0, 1])) < 0.25


def test_antithetic_pairs_need_a_fair_coin() -> None:
    """The complement of a mask that keeps 0.1 keeps 0.9."""
    with pytest.raises(SettingError, match=r"expected keep=0.5 for antithetic pairs, got 0.1"):
        designs.expect_design("antithetic", 0.1)


def test_an_unknown_design_is_refused_with_the_known_ones() -> None:
    """A typing error must not become the default."""
    with pytest.raises(
        SettingError, match="expected a design, one of independent, antithetic, stratified, sobol, got 'latin'"
    ):
        designs.expect_design("latin", 0.5)
