"""Multi-scale RISE against its formula, its limits and its error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from salience.boxes import toy
from salience.engine.perturb import masks
from salience.engine.query import loop
from salience.engine.query.run import Run, start_run
from salience.errors import BudgetError, SettingError
from salience.methods.multiscale_rise import SCALES, MultiscaleRise, find_root, to_unit
from salience.types import Map
from tests.helpers import apart, noise

SIDE = 32


def slow(count: int, smooth: float, seed: int) -> Map:
    """Compute the map mask by mask, in double precision."""
    box, image = toy.load("colour"), toy.picture()
    whole = np.zeros((SIDE, SIDE))
    for cells, keep, many in SCALES:
        drawn = torch.cat(
            [
                lot.rasterise(image.double())
                for lot in masks.sample_grids(count * many // 32, (SIDE, SIDE), cells, keep, seed, design="sobol")
            ]
        )
        scores = []
        for mask in drawn:
            shown = 0.5 + mask * (image.double() - 0.5)
            scores.append(float(box(shown[None].float())[0, 0]) ** 0.5)
        mean_score, mean_mask = sum(scores) / len(scores), drawn.mean(0)
        part = sum((score - mean_score) * (mask - mean_mask) for score, mask in zip(scores, drawn, strict=True)) / len(
            scores
        )
        whole += many / 32 * (part / part.std()).numpy()
    return torch.from_numpy(gaussian_filter(whole, smooth * SIDE, mode="nearest", truncate=3.0) if smooth else whole)


@pytest.mark.parametrize("smooth", [0.0, 0.09375])
def test_the_map_equals_its_formula_in_plain_loops(smooth: float) -> None:
    """Covariance at each scale, in units of its spread, weighed by its share, smoothed."""
    found = MultiscaleRise(masks=128, smooth=smooth, seed=3)(toy.load("colour"), toy.picture(), 0)
    assert apart(found, slow(128, smooth, seed=3)) < 1e-4


def test_a_box_that_never_changes_gives_a_flat_map() -> None:
    """There is nothing to vary with."""
    assert bool((MultiscaleRise(masks=64)(toy.load("constant"), toy.picture(), 0) == 0).all())


def test_the_root_keeps_the_sign_and_the_unit_a_flat_map() -> None:
    """A contrast may be below 0; a flat map has no spread to divide by."""
    assert find_root(torch.tensor([-4.0, 0.0, 9.0])).tolist() == [-2, 0, 3]
    assert to_unit(torch.full((3, 3), 2.0)).tolist() == [[0.0] * 3] * 3
    assert float(to_unit(noise(5, 5)).std()) == pytest.approx(1)


@pytest.mark.slow
def test_its_error_is_not_below_the_spread_between_seeds() -> None:
    """Over forty seeds, 95 % intervals around each map hold the mean of all maps; a box that is nearly linear is easy."""
    box, image = toy.load("corner"), toy.picture()
    found = [loop.run_to_end(MultiscaleRise(masks=512, seed=seed).watch(box, image, 1)) for seed in range(40)]
    centre = torch.stack([each.saliency for each in found]).mean(0)
    held = [((each.saliency - centre).abs() < 1.96 * each.error).float().mean() for each in found if each.error is not None]
    assert len(held) == 40
    assert float(torch.stack(held).mean()) > 0.95
    off = torch.stack([each.saliency - centre for each in found]).square().mean().sqrt()
    assert torch.stack([each.error.square().mean() for each in found if each.error is not None]).mean().sqrt() < 5 * off


def test_every_round_has_masks_of_every_size() -> None:
    """So a budget that ends early takes from all of them, and is kept to the pass."""
    for budget in (32, 60, 137):
        with start_run(budget) as run:
            loop.run_to_end(MultiscaleRise().watch(toy.load("colour"), toy.picture(), 0))
        assert budget - 2 <= run.passes <= budget


def test_too_little_is_refused() -> None:
    """One round is the least."""
    with pytest.raises(BudgetError, match="expected a budget of at least 32 passes for multiscale-rise"), start_run(10):
        MultiscaleRise()(toy.load("colour"), toy.picture(), 0)
    with pytest.raises(SettingError, match="expected 32 ≤ masks, got 3"):
        MultiscaleRise(masks=3)
    with pytest.raises(SettingError, match="expected 0 ≤ smooth ≤ 0.5, got 1"):
        MultiscaleRise(smooth=1)


@pytest.mark.parametrize("passes", [32, 40, 64, 136])
def test_time_may_end_anywhere_in_a_round(passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is that of the rounds of which masks of both sizes were scored, and the method ends."""
    monkeypatch.setattr(Run, "late", property(lambda run: run.passes >= passes))
    with start_run("3600s", batch=8) as run:
        *_, found = MultiscaleRise().watch(toy.load("colour"), toy.picture(), 0)
    assert run.passes == passes
    assert bool(found.saliency.isfinite().all())
    assert float(found.saliency.std()) > 0
