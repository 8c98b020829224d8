"""HSIC against its definition and closed forms."""

from __future__ import annotations

import math
from statistics import median_low

import pytest
import torch

from salience.boxes import toy
from salience.engine import maps
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.hsic import Hsic
from tests.helpers import Asked, curved, noise, same

IMAGE = noise(3, 8, 8)
ONES = torch.ones(3, 8, 8, dtype=torch.float64)


def dirac(m: float, other: float) -> float:
    """Say whether two binary values are the same."""
    return float(m == other)


def sobolev(m: float, other: float) -> float:
    """Compare by Bernoulli's polynomials: 1 + B₁(m) B₁(m') + B₂(|m − m'|) / 2."""
    t = abs(m - other)
    return 1 + (m - 0.5) * (other - 0.5) + (t * t - t + 1 / 6) / 2


def top_left(images: torch.Tensor) -> torch.Tensor:
    """Score by one pixel, hence by one cell."""
    return torch.stack([1 - images[:, 0, 0, 0], images[:, 0, 0, 0]], dim=1)


@pytest.mark.parametrize("kernel", [dirac, sobolev])
def test_dependence_equals_its_definition_in_plain_loops(kernel) -> None:
    """trace(K H L H) / (n − 1)², entry by entry, with the sign of the covariance."""
    method, box, n = Hsic(masks=40, cells=2, kernel=kernel.__name__), curved(), 40
    lot = next(method.sample_lots(n, (8, 8)))
    behind = torch.full_like(IMAGE, 0.5)
    y = [float(box((behind + mask * (IMAGE - behind))[None])[0, 1]) for mask in lot.rasterise(IMAGE)]
    width = median_low([abs(y[a] - y[b]) for a in range(n) for b in range(a)])
    output = [[math.exp(-((one - other) ** 2) / (2 * width**2)) for other in y] for one in y]
    centring = torch.eye(n, dtype=torch.float64) - 1 / n
    slow = torch.zeros(4, dtype=torch.float64)
    for i in range(4):
        cell = lot.values.flatten(1)[:, i].tolist()
        inputs = torch.tensor([[kernel(one, other) for other in cell] for one in cell], dtype=torch.float64)
        trace = (inputs @ centring @ torch.tensor(output, dtype=torch.float64) @ centring).trace()
        covariance = sum((m - sum(cell) / n) * each for m, each in zip(cell, y, strict=True))
        slow[i] = trace / (n - 1) ** 2 * (1 if covariance > 0 else -1)
    assert same(method(box, IMAGE, 1), maps.resize(slow.reshape(2, 2), (8, 8)).float(), 1e-7)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output kernel is never whole, and nobody can tell."""
    for kernel in ("dirac", "sobolev"):
        whole = Hsic(masks=100, cells=2, kernel=kernel)(curved(), IMAGE, 1)
        with monkeypatch.context() as patch:
            patch.setattr("salience.methods.hsic.BLOCK", 7)
            assert same(Hsic(masks=100, cells=2, kernel=kernel)(curved(), IMAGE, 1), whole, 1e-9)


def test_a_score_that_is_one_cell_has_the_dependence_of_a_coin_with_itself() -> None:
    """Half of the scores are 0, half 1, at width 1: HSIC is (1 − e^−½) n² / 4 (n − 1)². Others have next to none."""
    found = Hsic(masks=256, cells=4, fill="black")(Asked(top_left), ONES, 1)
    assert float(found[0, 0]) == pytest.approx((1 - math.exp(-0.5)) / 4 * (256 / 255) ** 2, abs=1e-6)
    assert float(found[4:, 4:].abs().max()) < 0.05 * float(found[0, 0])


def test_over_a_lot_each_cell_is_hidden_in_half_of_the_masks() -> None:
    """A Latin hypercube has one value in each of 256 steps."""
    (binary,), (faded,) = (list(Hsic(cells=3, kernel=kernel).sample_lots(256, (8, 8))) for kernel in ("dirac", "sobolev"))
    assert torch.equal(binary.values.sum(0), torch.full((3, 3), 128.0, dtype=torch.float64))
    steps = (faded.values * 256).long().sort(dim=0).values
    assert torch.equal(steps, torch.arange(256)[:, None, None].expand(256, 3, 3))


def test_a_shift_of_the_score_changes_nothing() -> None:
    """Dependence is not about level; the median of the scores, as a width, would be."""
    one, other = (Hsic(masks=100, cells=2)(curved(), IMAGE, lambda row, add=shift: row[:, 1] + add) for shift in (0.0, -0.3))
    assert same(one, other, 1e-7)


def test_what_lowers_the_score_is_below_zero_unless_unsigned() -> None:
    """HSIC is a squared norm; only the covariance knows the direction."""
    signed, published = (Hsic(cells=2, fill="black", signed=each)(Asked(top_left), ONES, 0) for each in (True, False))
    assert float(signed[0, 0]) == -float(published[0, 0]) < 0


def test_a_score_that_never_changes_depends_on_nothing() -> None:
    """Its distances are all 0, and so is the map."""
    assert float(Hsic(masks=64, cells=2)(toy.load("constant", size=8), IMAGE.float(), 0).abs().max()) == 0


@pytest.mark.parametrize("kernel", ["dirac", "sobolev"])
def test_the_standard_error_is_the_spread_between_seeds(kernel: str) -> None:
    """For a cell on which the score depends, the first order is what there is."""
    box = toy.linear(torch.tensor([[2.0, 1], [1, 1]], dtype=torch.float64).repeat_interleave(4, 0).repeat_interleave(4, 1))
    runs = [
        loop.run_to_end(Hsic(masks=200, cells=2, kernel=kernel, fill="black", seed=seed).watch(box, ONES, 1))
        for seed in range(40)
    ]
    spread = float(torch.stack([run.saliency[0, 0] for run in runs]).std())
    assert 0.6 < float(torch.stack([run.error[0, 0] for run in runs]).mean()) / spread < 1.6


def test_a_budget_gives_the_map_of_as_many_masks() -> None:
    """Masks come by number, so 300 of a budget are the first 300; the map grows lot by lot."""
    with start_run("300 passes", batch=32) as run:
        steps = list(Hsic(cells=2).watch(curved(), IMAGE, 1))
    assert run.passes == 300
    assert same(steps[-1].saliency, Hsic(cells=2, masks=300)(curved(), IMAGE, 1), 1e-7)
    assert same(steps[0].saliency, Hsic(cells=2, masks=256)(curved(), IMAGE, 1), 1e-7)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"masks": 9000}, "expected 32 ≤ masks ≤ 8192, got 9000"),
        ({"cells": 65}, "expected 1 ≤ cells ≤ 64, got 65"),
        ({"kernel": "rbf"}, "expected kernel dirac or sobolev, got 'rbf'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], text: str) -> None:
    """In one sentence with the range."""
    with pytest.raises(SettingError, match=text):
        Hsic(**settings)


def test_a_budget_for_no_dependence_is_refused() -> None:
    """A few masks say nothing of 49 cells."""
    with start_run(31), pytest.raises(BudgetError, match="at least 32 passes for hsic, got 31 passes"):
        Hsic()(curved(), IMAGE, 1)
