"""Sobol indices against their definition and closed forms."""

from __future__ import annotations

import pytest
import torch

from salience.boxes import toy
from salience.engine import maps, seeding
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.sobol import Sobol
from tests.helpers import Asked, curved, noise, same

IMAGE = noise(3, 8, 8)
ONES = torch.ones(3, 8, 8, dtype=torch.float64)
WEIGHTS = torch.tensor([[3.0, -2.0], [1.0, 0.0]], dtype=torch.float64)


def quarters(weights: torch.Tensor) -> torch.Tensor:
    """Spread four weights over the quarters of an 8 × 8 image, so that each quarter's terms add up to its weight."""
    return weights.repeat_interleave(4, 0).repeat_interleave(4, 1) / 16


def test_total_indices_equal_jansens_estimator_in_plain_loops() -> None:
    """T_i = Σ_j (f(A_j) − f(C_ji))² / (2 N V), V the variance of all f(A) and f(B); the sign is that of the gradient."""
    box, behind = curved(), torch.full_like(IMAGE, 0.5)
    key = seeding.generator(3, "sobol", 2).initial_seed()
    points = torch.quasirandom.SobolEngine(8, scramble=True, seed=key).draw(6, dtype=torch.float64)

    def score(cells: torch.Tensor) -> float:
        mask = cells.reshape(2, 2).repeat_interleave(4, 0).repeat_interleave(4, 1)
        return float(box((behind + mask * (IMAGE - behind))[None])[0, 1])

    known = [score(each) for point in points for each in (point[:4], point[4:])]
    mean = sum(known) / 12
    variance = sum((each - mean) ** 2 for each in known) / 11
    slow = torch.zeros(4, dtype=torch.float64)
    for i in range(4):
        squares, gradient = 0.0, 0.0
        for point in points:
            mixed = point[:4].clone()
            mixed[i] = point[4 + i]
            change = score(point[:4]) - score(mixed)
            squares, gradient = squares + change**2, gradient + float(point[i] - point[4 + i]) * change
        slow[i] = squares / (2 * 6 * variance) * (1 if gradient > 0 else -1)
    found = Sobol(designs=6, cells=2, seed=3)(box, IMAGE, 1)
    assert same(found, maps.resize(slow.reshape(2, 2), (8, 8)).float(), 1e-6)


@pytest.mark.slow
def test_on_an_additive_box_indices_are_the_shares_of_the_variance() -> None:
    """Var Σ w_i u_i = Σ w_i² / 12: cell i holds w_i² / Σ w², as total and as first-order index, and the sign of w_i."""
    box = toy.linear(quarters(WEIGHTS))
    found = loop.run_to_end(Sobol(designs=1024, cells=2, fill="black").watch(box, ONES, 1))
    shares = (WEIGHTS**2 / WEIGHTS.square().sum()).float()
    assert same(found.evidence["total"], shares, 0.01)
    assert same(found.evidence["first"], shares, 0.02)
    assert same(found.saliency, maps.resize(found.evidence["total"] * WEIGHTS.sign().float(), (8, 8)), 1e-6)


@pytest.mark.slow
def test_an_interaction_counts_in_total_and_not_in_first_order() -> None:
    """For u · v the variance is 7/144, of which 3/144 lie in each alone and 1/144 in both together."""

    def product(images: torch.Tensor) -> torch.Tensor:
        score = images[:, 0, 0, 0] * images[:, 0, 0, 7]
        return torch.stack([1 - score, score], dim=1)

    found = loop.run_to_end(Sobol(designs=2048, cells=2, fill="black").watch(Asked(product), ONES, 1))
    assert same(found.evidence["total"], torch.tensor([[4 / 7, 4 / 7], [0, 0]]), 0.01)
    assert same(found.evidence["first"], torch.tensor([[3 / 7, 3 / 7], [0, 0]]), 0.02)


@pytest.mark.slow
def test_intervals_of_two_standard_errors_hold_the_answer() -> None:
    """Nineteen in twenty for independent designs; a Sobol sequence does better than its interval."""
    box, held = toy.linear(quarters(WEIGHTS)), []
    share = float(WEIGHTS[0, 0] ** 2 / WEIGHTS.square().sum())
    for seed in range(40):
        found = loop.run_to_end(Sobol(designs=32, cells=2, fill="black", seed=seed).watch(box, ONES, 1))
        held.append(abs(float(found.saliency[0, 0]) - share) < 1.96 * float(found.error[0, 0]))
        assert 0 < float(found.error[0, 0]) < share
    assert sum(held) >= 36


def test_unsigned_indices_are_the_published_ones() -> None:
    """A variance has no sign: what lowers the score counts as what raises it."""
    box = toy.linear(quarters(WEIGHTS))
    signed, published = (Sobol(cells=2, fill="black", signed=each)(box, ONES, 1) for each in (True, False))
    assert float(signed[0, 7]) < 0 < float(published[0, 7])
    assert float(published.min()) >= 0


def test_a_score_that_never_changes_gives_a_map_of_zeros() -> None:
    """There is no variance to share."""
    assert float(Sobol(cells=2)(toy.load("constant", size=8), IMAGE.float(), 0).abs().max()) < 1e-6


def test_a_budget_gives_the_map_of_as_many_whole_designs() -> None:
    """Six passes a design of four cells: 63 passes make ten designs, and three passes are not spent."""
    with start_run("63 passes") as run:
        found = Sobol(cells=2)(curved(), IMAGE, 1)
    assert run.passes == 60
    assert torch.equal(found, Sobol(cells=2, designs=10)(curved(), IMAGE, 1))


def test_halves_agree_better_the_more_designs_there_are() -> None:
    """The stability of the running map is that of two halves of the designs."""
    steps = list(Sobol(designs=256, cells=4, fill="black").watch(toy.linear(noise(8, 8)), ONES, 1))
    assert [step.evidence["designs"] for step in steps[:3]] == [4, 8, 12]
    assert steps[0].stability < steps[-1].stability
    assert steps[-1].stability > 0.8


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"designs": 1}, "expected 2 ≤ designs, got 1"), ({"cells": 0}, "expected 1 ≤ cells ≤ 64, got 0")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], text: str) -> None:
    """In one sentence with the range."""
    with pytest.raises(SettingError, match=text):
        Sobol(**settings)


def test_a_budget_for_fewer_than_two_designs_is_refused() -> None:
    """One design has no variance."""
    with start_run(131), pytest.raises(BudgetError, match="at least 132 passes for sobol with 8 × 8 cells, got 131"):
        Sobol()(curved(), IMAGE, 1)
