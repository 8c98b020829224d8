"""Max-sensitivity and stability: the method is asked again, of an image that looks the same."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from salience.case import Case
from salience.engine import seeding
from salience.errors import SettingError
from salience.measures.max_sensitivity import MaxSensitivity
from salience.measures.stability import Stability
from salience.types import BlackBox, Image, Map, Target
from tests.helpers import curved, noise, same

IMAGE = noise(3, 8, 8)


def explain(box: BlackBox, image: Image, target: Target, seed: int | None) -> Map:
    """Explain by something that curves, and moves a little with the seed."""
    return (image**2).sum(0) + 0.1 * noise(8, 8, seed=seed or 0)


def case() -> Case:
    """Make a case in double precision."""
    return Case(curved(), IMAGE, 1, explain(curved(), IMAGE, 1, None), explain=explain)


def moved(measure: str, draw: int) -> Image:
    """Draw a neighbour, pixel by pixel."""
    source = seeding.generator(0, measure, draw)
    drawn = torch.rand(3, 8, 8, generator=source) if measure == "max-sensitivity" else torch.randn(3, 8, 8, generator=source)
    other = IMAGE.clone()
    for at in range(192):
        value = float(drawn.flatten()[at])
        other.view(-1)[at] += 0.02 * (2 * value - 1) if measure == "max-sensitivity" else 0.05 * value
    return other


def distance(one: Map, other: Map) -> float:
    """Return the length of the difference, by hand."""
    return math.sqrt(sum(float(a - b) ** 2 for a, b in zip(one.flatten(), other.flatten(), strict=True)))


@pytest.mark.parametrize("protocol", ["relative", "absolute"])
def test_sensitivity_is_the_largest_change_of_ten(protocol: str) -> None:
    """In plain loops."""
    before = case().saliency
    size = distance(before, torch.zeros(8, 8)) if protocol == "relative" else 1
    slow = max(distance(explain(curved(), moved("max-sensitivity", draw), 1, None), before) / size for draw in range(10))
    found = MaxSensitivity(protocol)(case())  # type: ignore[arg-type]
    assert found.value == pytest.approx(slow, rel=1e-6)
    assert len(found.evidence["values"]) == 10


def test_stability_is_the_mean_change_of_five() -> None:
    """Relative to the map, or as the agreement of ranks."""
    before = case().saliency
    others = [explain(curved(), moved("stability", draw), 1, None) for draw in range(5)]
    slow = sum(distance(each, before) for each in others) / 5 / distance(before, torch.zeros(8, 8))
    assert Stability()(case()).value == pytest.approx(slow, rel=1e-6)
    ranks = sum(float(spearmanr(each.flatten(), before.flatten()).statistic) for each in others) / 5
    assert Stability("noise-rank")(case()).value == pytest.approx(ranks, abs=1e-9)


def test_stability_over_seeds_is_the_mean_agreement_of_three_pairs() -> None:
    """Of the seeds 0, 1 and 2, whatever the map's own was."""
    made = [explain(curved(), IMAGE, 1, seed).flatten() for seed in range(3)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    slow = sum(float(spearmanr(made[a], made[b]).statistic) for a, b in pairs) / 3
    found = Stability("seeds")(replace(case(), saliency=noise(8, 8, seed=9)))
    assert found.value == pytest.approx(slow, abs=1e-9)
    assert 0 < found.value < 1


def test_a_method_that_ignores_the_image_is_perfectly_stable() -> None:
    """Nothing changes: 0 where change is counted, 1 where agreement is."""
    still = noise(8, 8)
    one = Case(curved(), IMAGE, 1, still, explain=lambda box, image, target, seed: still)
    for measure in (MaxSensitivity(), MaxSensitivity("absolute"), Stability()):
        assert measure(one).value == 0
    for protocol in ("noise-rank", "seeds"):
        assert Stability(protocol)(one).value == pytest.approx(1)  # type: ignore[arg-type]


def test_the_neighbours_are_as_far_as_the_protocol_says() -> None:
    """Within 0.02 of every pixel; a standard deviation of 0.05; box, target and seed as they were."""
    asked: list[Image] = []

    def note(box: BlackBox, image: Image, target: Target, seed: int | None) -> Map:
        asked.append(image - IMAGE)
        assert (box, target, seed) == (one.box, 1, None)
        return one.saliency

    one = replace(case(), explain=note)
    MaxSensitivity()(one)
    assert 0.019 < max(float(each.abs().max()) for each in asked) <= 0.02
    assert not same(asked[0], asked[1], 1e-3)
    del asked[:]
    Stability()(one)
    assert float(torch.stack(asked).std()) == pytest.approx(0.05, rel=0.1)


def test_a_map_of_zeros_has_no_relative_change() -> None:
    """Not a number, rather than 0; and a constant map has no ranks."""
    nothing = replace(case(), saliency=torch.zeros(8, 8, dtype=torch.float64))
    for measure in (MaxSensitivity(), Stability(), Stability("noise-rank")):
        assert math.isnan(measure(nothing).value)
    flat = replace(case(), explain=lambda box, image, target, seed: torch.ones(8, 8))
    assert math.isnan(Stability("seeds")(flat).value)


def test_directions_follow_the_protocol() -> None:
    """A change should be small, an agreement large."""
    assert Stability().better == "lower"
    assert Stability("noise-rank").better == Stability("seeds").better == "higher"


def test_settings_out_of_range_are_refused() -> None:
    """One seed makes no pair, a ball without radius no neighbour."""
    for make, said in (
        (lambda: Stability("seeds", samples=1), "2 ≤ samples, got 1"),
        (lambda: Stability(sigma=0), "0 < sigma, got 0"),
        (lambda: MaxSensitivity(radius=-1), "0 < radius, got -1"),
        (lambda: MaxSensitivity(samples=0), "1 ≤ samples, got 0"),
    ):
        with pytest.raises(SettingError, match=said):
            make()
