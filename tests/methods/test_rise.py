"""RISE against its definition."""

from __future__ import annotations

import pytest
import torch

from salience.boxes import toy
from salience.engine.perturb import masks
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.rise import Rise
from tests.engine.perturb.test_masks import slow_mask
from tests.helpers import curved, noise, same

IMAGE = noise(3, 8, 8)


def test_rise_equals_its_definition_in_plain_loops() -> None:
    """S(p) = 1 / (N · p) · Σ f(I ⊙ m) · m(p), mask by mask, in double precision."""
    box, slow = curved(), torch.zeros(8, 8, dtype=torch.float64)
    lot = next(masks.sample_grids(60, (8, 8), 3, 0.4, seed=2))
    behind = torch.full_like(IMAGE, 0.5)
    for cells, shift in zip(lot.cells, lot.shifts.tolist(), strict=True):
        mask = slow_mask(cells, (shift[0], shift[1]), (8, 8))
        slow += box((behind + mask * (IMAGE - behind))[None])[0, 1] * mask
    found = Rise(masks=60, cells=3, keep=0.4, seed=2)(box, IMAGE, 1)
    assert same(found, (slow / (60 * 0.4)).float(), 1e-7)


@pytest.mark.parametrize("estimator", ["normalised", "centred", "ridge"])
def test_every_estimator_ranks_a_linear_box_by_its_smoothed_terms(estimator: str) -> None:
    """On an additive score the expected map is w · I seen through a cell, up to a constant."""
    weights = torch.zeros(16, 16, dtype=torch.float64)
    weights[3:8, 9:14] = 1
    box = toy.linear(weights)
    found = Rise(masks=3000, cells=5, estimator=estimator)(box, torch.ones(3, 16, 16, dtype=torch.float64), 1)
    top = torch.zeros(256, dtype=torch.bool)
    top[found.flatten().topk(25).indices] = True
    assert float((top.reshape(16, 16) & (weights > 0)).sum()) / 25 > 0.7


def test_masks_that_keep_everything_give_a_flat_map() -> None:
    """Nothing was hidden, so no pixel differs from another."""
    found = Rise(masks=50, cells=3, keep=1 - 1e-12)(curved(), IMAGE, 1)
    assert float(found.max() - found.min()) < 1e-6
    assert float(found.mean()) == pytest.approx(float(curved()(IMAGE[None])[0, 1]), abs=1e-6)


def test_a_box_that_never_changes_gives_a_flat_centred_map() -> None:
    """The covariance with a constant is nothing; the published mean keeps the noise of its coverage."""
    box, image = toy.load("constant", size=8), noise(3, 8, 8, dtype=torch.float32)
    assert float(Rise(masks=200, cells=3, estimator="centred")(box, image, 0).abs().max()) < 1e-6
    assert float(Rise(masks=200, cells=3)(box, image, 0).std()) > 0.01


def test_the_normalised_map_of_a_constant_box_is_that_constant() -> None:
    """Every pixel's mean score is the only score there is."""
    found = Rise(masks=200, cells=3, estimator="normalised")(toy.load("constant", size=8), IMAGE.float(), 0)
    assert same(found, torch.ones(8, 8), 1e-5)


@pytest.mark.slow
def test_an_antithetic_map_of_a_linear_box_has_less_noise() -> None:
    """In a pair the constant part of the score cancels out of the mean."""
    box, image = toy.linear(noise(8, 8)), noise(3, 8, 8, seed=3)
    spread = []
    for design in ("independent", "antithetic"):
        maps = [Rise(masks=200, cells=3, design=design, seed=seed)(box, image, 1) for seed in range(20)]
        spread.append(float(torch.stack(maps).std(0).mean()))
    assert spread[1] < 0.5 * spread[0]


def test_a_budget_gives_the_map_of_as_many_masks() -> None:
    """Masks come by number, so 300 of a budget are the first 300."""
    with start_run("300 passes") as run:
        found = Rise(cells=3)(curved(), IMAGE, 1)
    assert run.passes == 300
    assert torch.equal(found, Rise(masks=300, cells=3)(curved(), IMAGE, 1))


def test_the_map_grows_while_it_is_watched() -> None:
    """Each step is the map of the masks so far; the last is the answer; the errors shrink."""
    with start_run(batch=32):
        steps = list(Rise(masks=900, cells=3).watch(curved(), IMAGE, 1))
    assert len(steps) == 4
    assert same(steps[0].saliency, Rise(masks=256, cells=3)(curved(), IMAGE, 1), 1e-6)
    assert float(steps[-1].error.mean()) < 0.7 * float(steps[0].error.mean())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"masks": 0}, "expected 1 ≤ masks, got 0"),
        ({"cells": 0}, "expected 1 ≤ cells, got 0"),
        ({"keep": 0.0}, "expected 0 < keep < 1, got 0"),
        ({"keep": 1.0}, "expected 0 < keep < 1, got 1"),
        ({"design": "antithetic", "keep": 0.2}, r"expected keep=0.5 for antithetic pairs, got 0.2"),
        ({"estimator": "median"}, "expected an estimator, one of mean, normalised, centred, ridge, got 'median'"),
        ({"design": "latin"}, "expected a design, one of independent, antithetic, stratified, sobol, got 'latin'"),
        ({"fill": "pink"}, "expected a fill, one of mean, black"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], text: str) -> None:
    """In one sentence with the range."""
    with pytest.raises(SettingError, match=text):
        Rise(**settings)(curved(), IMAGE, 1)


def test_a_budget_for_no_map_is_refused() -> None:
    """One mask has no error."""
    with start_run(1), pytest.raises(BudgetError, match="at least 2 passes for rise, got 1 passes"):
        Rise()(curved(), IMAGE, 1)


@pytest.mark.parametrize("estimator", ["mean", "normalised", "centred"])
def test_all_classes_at_once_are_the_maps_one_by_one(estimator: str) -> None:
    """The passes of one map; ridge is refused."""
    box, method = curved(), Rise(masks=50, cells=3, estimator=estimator)
    with start_run(batch=7) as run:
        every = method.explain_all(box, IMAGE)
    assert run.passes == 50
    for target in range(3):
        assert same(every[target].float(), method(box, IMAGE, target), 1e-6)
    with pytest.raises(SettingError, match="expected estimator mean, normalised or centred"):
        Rise(estimator="ridge").explain_all(box, IMAGE)
