"""DE-CAM against plain loops, and the acceptance tests of its specification."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import salience
from salience.boxes import toy
from salience.engine import maps, seeding
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.estimates import Estimate
from salience.methods._de_cam import encodings, evolution
from salience.methods.de_cam import DeCam
from salience.types import Target
from tests.helpers import Asked, apart, curved, noise, same

IMAGE = noise(3, 8, 8)
PLACES = ((12, 18, 4), (40, 12, 5), (44, 44, 4))  # rows, columns, radii
Y, X = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
DISCS = torch.stack([(Y - y) ** 2 + (X - x) ** 2 <= r**2 for y, x, r in PLACES]).double()


def joint() -> Asked:
    """Make a box that needs to see three discs together: its score is the product of how much of each is seen."""

    def answer(images: Tensor) -> Tensor:
        seen = torch.einsum("nhw,dhw->nd", images.mean(1).double(), DISCS) / DISCS.sum((1, 2))
        return torch.stack([1 - seen.prod(1), seen.prod(1)], dim=1)

    box = Asked(answer, 64)
    box.mean = (0.0, 0.0, 0.0)
    return box


def explained(method: DeCam, box: object, image: Tensor, target: Target = 1, budget: object = None) -> Estimate:
    """Run to the end."""
    with start_run(budget):
        return loop.run_to_end(method.watch(box, image, target))


def plain(row: Tensor) -> Tensor:
    """Score class 1 as a function: its scale is left alone."""
    return row[:, 1]


def slow_draw(cells: Tensor, size: int) -> Tensor:
    """Interpolate bilinearly between the centres of cells, pixel by pixel."""
    side, drawn = len(cells), torch.zeros(size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            for a in range(side):
                for b in range(side):
                    y, x = (min(max((k + 0.5) * side / size - 0.5, 0), side - 1) for k in (i, j))
                    drawn[i, j] += max(0, 1 - abs(y - a)) * max(0, 1 - abs(x - b)) * cells[a, b]
    return drawn


def slow_score(box: object, mask: Tensor) -> float:
    """Ask for one masked image, over the mean colour."""
    return float(box((0.5 + mask * (IMAGE - 0.5))[None])[0, 1])  # type: ignore[operator]


def test_the_map_equals_the_regression_of_all_masks_in_plain_loops() -> None:
    """L = (Cov + k I)⁻¹ v on log scores, each mask enlarged by hand; k is 0.1 for so few."""
    population = [evolution.sample_binary(8, 9, seeding.generator(3, "de-cam"))]
    population += [evolution.sample_binary(8, 9, seeding.generator(3, "evolve", number)) for number in (1, 2, 3, 4)]
    rows = torch.cat(population)
    probabilities = [slow_score(curved(), slow_draw(row.reshape(3, 3), 8)) for row in rows]
    scores = torch.tensor([(math.log(p + 1e-4) - math.log(1e-4)) / -math.log(1e-4) for p in probabilities]).double()
    cov, v = torch.zeros(9, 9, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)
    for row, score in zip(rows - rows.mean(0), scores - scores.mean(), strict=True):
        cov, v = cov + torch.outer(row, row) / 40, v + score * row / 40
    cells = torch.linalg.solve(cov + 0.1 * torch.eye(9, dtype=torch.float64), v)
    found = explained(DeCam(variant="unevolved", cells=3, seed=3), curved(), IMAGE, budget=40)
    assert same(found.saliency, slow_draw(cells.reshape(3, 3), 8), 1e-6)


def test_r0_is_the_mean_of_the_population_that_evolves() -> None:
    """DE/rand/1/bin on p − 0.5 · area, mask by mask."""
    search = evolution.Classic(evolution.sample_uniform(8, 9, seeding.generator(0, "de-cam")), 0, 0.5, 0.9)
    for _ in range(3):
        drawn = [slow_draw(each.reshape(3, 3), 8) for each in search.ask()]
        search.tell(torch.tensor([slow_score(curved(), mask) - 0.5 * float(mask.mean()) for mask in drawn]).double())
    found = explained(DeCam(variant="r0", cells=3), curved(), IMAGE, budget=24)
    assert same(found.saliency, slow_draw(search.population.mean(0).reshape(3, 3), 8), 1e-6)


@pytest.mark.parametrize("fitness", ["preserve", "delete", "hybrid"])
def test_the_best_mask_has_the_scores_that_the_evidence_says(fitness: str) -> None:
    """Asked again, it keeps or leaves as much; its fitness is T(kept) − T(left) − λ · area, and none was better."""
    found = explained(DeCam(fitness=fitness, cells=4, area=0.2), curved(), IMAGE, budget=400)
    mask, told = found.evidence["mask"].double(), found.evidence
    again = {"kept": slow_score(curved(), mask), "left": slow_score(curved(), 1 - mask)}
    names = {"preserve": ["kept"], "delete": ["left"], "hybrid": ["kept", "left"]}[fitness]
    assert [name for name in ("kept", "left") if name in told] == names
    fit = -0.2 * float(mask.mean())
    for name in names:
        assert told[name] == pytest.approx(again[name], abs=1e-5)
        fit += (1 if name == "kept" else -1) * (1 - math.log(again[name] + 1e-4) / math.log(1e-4))
    assert told["area"] == pytest.approx(float(mask.mean()), abs=1e-5)
    assert told["search"][-1][1] == pytest.approx(fit, abs=1e-4)


def test_a_linear_box_gives_the_order_of_its_weights() -> None:
    """Acceptance 1: on additive evidence the regression finds the weights; cells are pixels here."""
    weights = noise(7, 7) / 49
    box, image = toy.linear(weights), torch.ones(3, 7, 7)
    found = explained(DeCam(fitness="hybrid", cells=7), box, image, plain, budget=2500)
    assert maps.rank_agreement(found.saliency, weights) > 0.95


def test_a_box_that_needs_three_discs_at_once_gives_all_three() -> None:
    """Acceptance 2: a random pixel of the discs outranks one outside in 95 of 100 cases or more."""
    saliency = explained(DeCam(), joint(), torch.ones(3, 64, 64)).saliency
    ranks, inside = maps.rank(saliency).reshape(64, 64), DISCS.any(0)
    many = int(inside.sum())
    area = (float(ranks[inside].sum()) - many * (many - 1) / 2) / (many * (64 * 64 - many))
    assert area > 0.95


@pytest.mark.parametrize("variant", ["r1", "r0"])
def test_the_best_fitness_never_falls_and_the_passes_are_those_of_the_budget(variant: str) -> None:
    """Acceptance 3 and 4: selection is elitist; the last generation is cut to fit."""
    box = joint()
    found = explained(DeCam(variant=variant, fitness="hybrid"), box, torch.ones(3, 64, 64), budget=701)
    best = [each[1] for each in found.evidence["search"]]
    assert best == sorted(best)
    assert best[-1] > best[0]
    assert sum(box.batches) == 700
    assert found.evidence["search"][-1][0] == 350


def test_two_seeds_agree_but_not_wholly() -> None:
    """Acceptance 5: chance plays a part in the search and leaves the map much as it is."""
    box, image = toy.linear(noise(7, 7) / 49), torch.ones(3, 7, 7)
    one, other = (explained(DeCam(cells=7, seed=seed), box, image, plain).saliency for seed in (0, 1))
    assert 0.7 < maps.rank_agreement(one, other) < 1


@pytest.mark.parametrize("variant", ["r1", "r0", "unevolved"])
def test_a_constant_box_gives_zeros_and_a_note(variant: str) -> None:
    """Acceptance 6: nothing speaks for any pixel."""
    why = salience.explain(toy.load("constant", size=16), toy.picture(16), DeCam(variant=variant), target=0, budget=200)
    assert float(why.saliency.abs().max()) == 0
    assert "the map is constant (0 everywhere)" in " ".join(why.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("price", "low", "high"), [(0.0, 0.99, 1.0), (10.0, 0.0, 0.01)])
def test_without_a_price_everything_is_kept_and_at_a_high_one_nothing(price: float, low: float, high: float) -> None:
    """Acceptance 7: on additive evidence every cell pays for itself, or none does."""
    box, image = toy.linear(noise(7, 7) / 49), torch.ones(3, 7, 7)
    found = explained(DeCam(cells=7, area=price), box, image, plain, budget=5000)
    assert low <= found.evidence["area"] <= high


def test_evolution_finds_a_smaller_mask_that_keeps_as_much() -> None:
    """What it is for: of as many masks drawn by chance, the best needs half as much area again."""
    evolved, drawn = (
        explained(DeCam(variant=variant), joint(), torch.ones(3, 64, 64)).evidence for variant in ("r1", "unevolved")
    )
    assert evolved["kept"] > drawn["kept"] - 0.05
    assert evolved["area"] < 0.67 * drawn["area"]


@pytest.mark.parametrize("encoding", ["regions", "blobs"])
def test_superpixels_and_blobs_find_the_patch_too(encoding: str) -> None:
    """The map peaks in the patch, and the best mask shows most of it."""
    found = explained(DeCam(encoding=encoding), toy.load("colour"), toy.picture(), 0, budget=1000)
    patch = torch.zeros(32, 32, dtype=torch.bool)
    patch[6:14, 14:22] = True
    assert bool(patch.flatten()[found.saliency.argmax()])
    assert float(found.evidence["mask"][patch].mean()) > 0.5 > float(found.evidence["mask"][~patch].mean())


def test_blobs_are_drawn_as_their_formula_says() -> None:
    """A mask is 1 − Π_k (1 − a_k exp(−((i − y_k H)² + (j − x_k W)²) / 2σ_k²)), pixel by pixel."""
    blobs = noise(2, 3, 4, seed=1)
    slow = torch.zeros(2, 6, 9, dtype=torch.float64)
    for n in range(2):
        for i in range(6):
            for j in range(9):
                hidden = 1.0
                for y, x, s, a in blobs[n].tolist():
                    sigma = (0.05 + 0.25 * s) * 6
                    hidden *= 1 - a * math.exp(-((i - y * 6) ** 2 + (j - x * 9) ** 2) / (2 * sigma**2))
                slow[n, i, j] = 1 - hidden
    assert same(encodings.BlobMasks(blobs, (6, 9)).rasterise(IMAGE), slow)


def test_seconds_end_the_search_between_batches() -> None:
    """What was scored until then is in the map."""
    found = explained(DeCam(), joint(), torch.ones(3, 64, 64), budget="0.3s")
    assert found.evidence["search"][-1][0] >= 100
    assert maps.find_flaws(found.saliency) == []


def test_errors_shrink_with_the_masks() -> None:
    """Four times as many halve the standard error where nothing evolves, which is as it should be."""
    method, box = DeCam(variant="unevolved", cells=7), curved(14, dtype=torch.float32)
    few, many = (explained(method, box, noise(3, 14, 14).float(), budget=budget).error for budget in (1000, 4000))
    assert float(few.mean() / many.mean()) == pytest.approx(2, abs=0.2)


@pytest.mark.slow
def test_another_batch_size_gives_the_same_search() -> None:
    """The last digits of the scores decide nothing, so the map is the same after 2,500 passes too."""
    box, found = curved(16, dtype=torch.float32), []
    for batch in (5, 64):
        with start_run(2500, batch=batch):
            found.append(DeCam(cells=7)(box, noise(3, 16, 16).float(), 1))
    assert apart(*found) < 1e-5


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"variant": "r2"}, "expected variant r1, r0, unevolved, got 'r2': choose one"),
        ({"encoding": "hexagons"}, "expected encoding grid, regions, blobs, got 'hexagons'"),
        ({"fitness": "speed"}, "expected fitness preserve, delete, hybrid, got 'speed'"),
        ({"cells": 0}, "expected 1 ≤ cells, got 0"),
        ({"area": -0.1}, "expected 0 ≤ area, got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], text: str) -> None:
    """In one sentence with the choice."""
    with pytest.raises(SettingError, match=text):
        DeCam(**settings)


def test_a_budget_for_no_search_is_refused() -> None:
    """Eight masks are the smallest population; the hybrid asks twice for each."""
    with start_run(15), pytest.raises(BudgetError, match=r"at least 16 passes for de-cam \(r1, hybrid\), got 15"):
        DeCam(fitness="hybrid")(curved(), IMAGE, 1)
