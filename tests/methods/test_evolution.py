"""Differential evolution against plain loops, and against SciPy's on functions whose optimum is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

import pytest
import torch
from scipy.optimize import differential_evolution
from torch import Tensor

from salience.engine import seeding
from salience.methods._de_cam import evolution
from tests.helpers import same

MANY, WIDE, TOTAL = 30, 5, 4500


def sphere(x: Tensor) -> Tensor:
    """Square the distance to a point; the optimum is 0, here and below."""
    return ((x - 0.65) ** 2).sum(-1)


def rosenbrock(x: Tensor) -> Tensor:
    """Bend a narrow valley through −2…2."""
    z = 4 * x - 2
    return (100 * (z[..., 1:] - z[..., :-1] ** 2) ** 2 + (1 - z[..., :-1]) ** 2).sum(-1)


def rastrigin(x: Tensor) -> Tensor:
    """Add ripples, each with an optimum of its own."""
    z = 10 * (x - 0.6)
    return (10 + z**2 - 10 * torch.cos(2 * torch.pi * z)).sum(-1)


def start(seed: int = 0, many: int = MANY, dimensions: int = WIDE) -> Tensor:
    """Draw a first population."""
    return evolution.sample_uniform(many, dimensions, seeding.generator(seed, "start"))


def lowest(search: evolution.Search, function: Callable[[Tensor], Tensor], total: int = TOTAL) -> float:
    """Minimise with so many values."""
    told = 0
    while told < total:
        trials = search.ask()[: total - told]
        search.tell(-function(trials))
        told += len(trials)
    return -float(search.values.max())


def scipys(function: Callable[[Tensor], Tensor], seed: int) -> float:
    """Minimise by SciPy's rand/1/bin with as many values, from the same population."""
    found = differential_evolution(
        lambda x: function(torch.from_numpy(x.T.copy())).numpy(), [(0, 1)] * WIDE, init=start(seed).numpy(),
        strategy="rand1bin", mutation=0.5, recombination=0.9, maxiter=TOTAL // MANY - 1, tol=0, atol=0, polish=False,
        updating="deferred", vectorized=True, seed=seed,
    )  # fmt: skip
    return float(found.fun)


@pytest.mark.slow
@pytest.mark.parametrize("function", [sphere, rosenbrock, rastrigin])
def test_the_classic_search_comes_as_far_as_scipys(function: Callable[[Tensor], Tensor]) -> None:
    """The same algorithm with the same number of values; medians of nine runs lie within a factor of ten."""
    ours = median(lowest(evolution.Classic(start(seed), seed), function) for seed in range(9))
    assert abs(math.log10(ours / median(scipys(function, seed) for seed in range(9)))) < 1


@pytest.mark.slow
@pytest.mark.parametrize("function", [sphere, rosenbrock, rastrigin])
def test_l_shade_comes_to_the_optimum(function: Callable[[Tensor], Tensor]) -> None:
    """Within the same number of values; the classic search is far from it on the last two."""
    assert median(lowest(evolution.Shade(start(seed), seed, TOTAL), function) for seed in range(5)) < 1e-8


def test_a_generation_of_the_classic_search_equals_plain_loops() -> None:
    """A mutant is x_r1 + F (x_r2 − x_r3), half the way to a border it would cross, taken at rate CR; the better stays."""
    population, chances = start(1, 8, 4), seeding.generator(3, "evolve", 1)
    search = evolution.Classic(population, 3, factor=0.9, rate=0.4)
    search.ask()
    search.tell(-sphere(population))
    others = evolution.pick_distinct(8, chances).tolist()
    takes, always = torch.rand(8, 4, generator=chances, dtype=torch.float64), torch.randint(4, (8,), generator=chances)
    slow = population.clone()
    for i, (one, two, three) in enumerate(others):
        for d in range(4):
            value = population[one, d] + 0.9 * (population[two, d] - population[three, d])
            value = population[i, d] / 2 if value < 0 else (1 + population[i, d]) / 2 if value > 1 else value
            slow[i, d] = value if takes[i, d] < 0.4 or d == always[i] else population[i, d]
    assert same(search.ask(), slow)
    search.tell(-sphere(slow))
    assert same(search.population, torch.where((sphere(slow) <= sphere(population))[:, None], slow, population))


def test_the_three_others_are_distinct_and_equally_likely() -> None:
    """Drawn with replacement, differences of a vector with itself would be nothing."""
    drawn = torch.stack([evolution.pick_distinct(6, seeding.generator(seed, "d")) for seed in range(600)])
    with_own = torch.cat([drawn, torch.arange(6).expand(600, 6)[..., None]], dim=2)
    assert all(len(set(row)) == 4 for row in with_own.flatten(0, 1).tolist())
    assert float((drawn[:, 0].flatten().bincount() / 1800)[1:].sub(0.2).abs().max()) < 0.03


def test_l_shade_learns_from_what_succeeded() -> None:
    """The memory takes Σ w F² / Σ w F, weighted by the gains, to two decimals; the replaced parents go to the archive."""
    search = evolution.Shade(start(2, 12), 0, TOTAL)
    for _ in range(2):
        search.tell(-sphere(search.ask()))
    search.ask()
    before, parents, memory = search.values, search.population, search.cursor
    archived = len(search.archive)
    gain = -sphere(search.trials) - before
    search.tell(-sphere(search.trials))
    up = below = 0.0
    for i in range(12):
        if gain[i] > 0:
            up, below = up + float(gain[i] * search.factor[i] ** 2), below + float(gain[i] * search.factor[i])
    assert float(search.factors[memory]) == pytest.approx(up / below, abs=0.005)
    assert same(search.archive[archived:], parents[gain > 0])


def test_the_population_shrinks_to_four_and_the_archive_with_it() -> None:
    """Linearly over the values promised."""
    search, sizes = evolution.Shade(start(0, 40), 0, 1000), []
    while search.scored < 1000:
        search.tell(-sphere(search.ask()[: 1000 - search.scored]))
        sizes.append((search.scored, len(search.population)))
    assert sizes[-1] == (1000, 4)
    assert all(size == max(4, round(40 - 36 * told / 1000)) for told, size in sizes)
    assert len(search.archive) <= 10


@pytest.mark.parametrize("kind", [evolution.Classic, lambda population, seed: evolution.Shade(population, seed, 2000)])
def test_the_best_never_becomes_worse_and_all_stay_in_the_cube(kind: Callable[..., evolution.Search]) -> None:
    """Selection is elitist, and mutants are mended."""
    search, best = kind(start(), 0), []
    for _ in range(40):
        trials = search.ask()
        assert 0 <= float(trials.min()) <= float(trials.max()) <= 1
        search.tell(-rastrigin(trials))
        best.append(float(search.values.max()))
    assert best == sorted(best)
    assert best[-1] > best[0]


def test_values_that_differ_by_less_than_a_tie_decide_nothing() -> None:
    """The last digits of a sum depend on the batch; they change no selection and no order."""
    found = []
    for wobble in (0.0, 1e-8):
        search = evolution.Shade(start(4), 0, 900, tie=1e-6)
        for number in range(20):
            trials = search.ask()
            steps = (10 * rastrigin(trials)).round() / 10  # plateaus, so many are equal
            search.tell(-steps + wobble * torch.randn(len(trials), generator=seeding.generator(number, "w")).double())
        found.append(search.population)
    assert same(*found, 1e-5)


def test_a_part_of_a_generation_can_be_told() -> None:
    """A budget may end in the middle: those that were scored are selected, the others stay."""
    search = evolution.Classic(start(), 0)
    search.tell(-sphere(search.ask()))
    before, trials = search.population, search.ask()
    search.tell(torch.zeros(7, dtype=torch.float64))
    assert same(search.population, torch.cat([trials[:7], before[7:]]))


def test_contrasted_vectors_are_zeros_and_ones_in_varied_shares() -> None:
    """From a tenth to nine tenths of ones, evenly."""
    drawn = evolution.sample_binary(2000, 400, seeding.generator(0, "c"))
    shares = drawn.mean(1)
    assert drawn.unique().tolist() == [0, 1]
    assert float(shares.std()) == pytest.approx(0.8 / 12**0.5, abs=0.01)
    assert 0.03 < float(shares.min()) < 0.13
