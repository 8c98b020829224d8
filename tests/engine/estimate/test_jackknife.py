"""Groups of estimators: who gets which mask, and errors that hold for masks that depend on each other."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from salience.engine.estimate import jackknife, moments
from salience.engine.perturb import masks
from salience.engine.perturb.designs import Design
from salience.estimates import Estimate
from tests.helpers import noise, same

SIZE, KEEP = (6, 7), 0.5
LIKE = torch.zeros(0, dtype=torch.float64)
NAMES, DESIGNS = get_args(moments.Name), get_args(Design)


def sample(count: int, seed: int = 0, design: Design = "independent") -> tuple[torch.Tensor, torch.Tensor]:
    """Draw masks, and scores with an interaction: what two places show together counts."""
    drawn = torch.cat([lot.rasterise(LIKE) for lot in masks.sample_grids(count, SIZE, 3, KEEP, seed, design=design)])
    weights = noise(*SIZE, seed=9).double()
    return drawn, (drawn * weights).sum((1, 2)) / 20 + drawn[:, 1, 1] * drawn[:, 4, 5]


def found(name: str, count: int, seed: int, design: Design, batch: int = 10_000) -> Estimate:
    """Fold everything."""
    seen = jackknife.group_estimators(name, SIZE, KEEP, 3, design)
    drawn, scores = sample(count, seed, design)
    for begin in range(0, count, batch):
        seen.add(drawn[begin : begin + batch], scores[begin : begin + batch])
    return seen.estimate()


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("name", NAMES)
def test_batches_do_not_change_an_estimate(name: str, design: Design) -> None:
    """Masks go to the groups by their number, not by their batch; error and stability are the same too."""
    one, *others = (found(name, 1100, 0, design, batch) for batch in (1100, 7, 300))
    for each in others:
        assert same(each.saliency, one.saliency, 1e-6)
        assert (each.error is None) == (one.error is None)
        assert each.error is None or same(each.error, one.error, 1e-6)
        assert each.stability == pytest.approx(one.stability)


def test_the_spread_of_means_without_one_is_the_error_of_the_mean() -> None:
    """For a mean of equal groups the jackknife is the textbook's s / √g."""
    values = noise(12, 3).double()
    without = torch.stack([torch.cat([values[:at], values[at + 1 :]]).mean(0) for at in range(12)])
    assert same(jackknife.standard_error(without), values.std(0) / 12**0.5, 1e-12)


def test_the_jackknife_leaves_each_block_out_in_turn() -> None:
    """Sixteen blocks of 32 masks, in plain loops."""
    drawn, scores = sample(512, design="stratified")
    without = []
    for at in range(16):
        rest = torch.cat([torch.arange(at * 32), torch.arange(at * 32 + 32, 512)])
        y, m = scores[rest].numpy(), drawn[rest].numpy()
        without.append(((y - y.mean())[:, None, None] * m).sum(0) / len(rest) / KEEP)
    slow = np.sqrt(15 / 16 * ((np.array(without) - np.mean(without, 0)) ** 2).sum(0))
    assert same(found("centred", 512, 0, "stratified").error, torch.from_numpy(slow), 1e-6)


def test_too_few_groups_have_no_error() -> None:
    """Seven blocks tell too little about their own spread."""
    assert found("centred", 7 * 32, 0, "stratified").error is None
    assert found("centred", 7 * 32 + 1, 0, "stratified").error is not None


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(
    "name", [name if name == "centred" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_ninety_five_per_cent_of_the_intervals_hold_the_truth(name: str, design: Design) -> None:
    """With an interaction in the score; the truth is the mean of all maps. Sixteen groups give up two in a hundred."""
    every = [found(name, 4096 if design == "sobol" else 1024, seed, design) for seed in range(60)]
    truth = torch.stack([each.saliency for each in every]).mean(0)
    held = [((each.saliency - truth).abs() < 1.96 * each.error).double().mean() for each in every]
    assert 0.9 < float(torch.stack(held).mean()) < 0.975


def test_sobol_masks_need_fewer_for_the_same_error() -> None:
    """On a score that is nearly a sum over pixels, at most a fifth of the independent masks' variance is left."""
    spread = {}
    for design in ("independent", "sobol"):
        every = torch.stack([found("centred", 512, seed, design).saliency for seed in range(40)])
        spread[design] = float(every.var(0).mean())
    assert spread["sobol"] < 0.2 * spread["independent"]
