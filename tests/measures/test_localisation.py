"""How a map covers the truth, against the definitions in plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.case import Case
from salience.engine.maps import mark_top
from salience.types import Map, Region
from tests.helpers import noise

SIDE = 10
TRUTH = noise(SIDE, SIDE, seed=4) < 0.3
TIED = (noise(SIDE, SIDE, seed=5) * 6).floor() + TRUTH.double()  # many pixels of one value


def case(saliency: Map, truth: Region = TRUTH) -> Case:
    """Make a case."""
    return Case(toy.load("colour"), torch.zeros(3, *saliency.shape), 0, saliency, truth)


def value(spec: str, saliency: Map, truth: Region = TRUTH) -> float:
    """Measure."""
    return specs.make_measure(spec)(case(saliency, truth)).value


def pairs(saliency: Map, truth: Region = TRUTH) -> list[tuple[float, bool]]:
    """List the pixels in reading order."""
    return list(zip(saliency.flatten().tolist(), truth.flatten().tolist(), strict=True))


def slow_top(saliency: Map, count: int) -> Region:
    """Mark one pixel after the other, the highest that is left."""
    values, marked = saliency.flatten().tolist(), [False] * saliency.numel()
    for _ in range(count):
        left = [at for at in range(len(values)) if not marked[at]]
        marked[max(left, key=lambda at: (values[at], -at))] = True
    return torch.tensor(marked).reshape(saliency.shape)


def slow_average_precision(saliency: Map) -> float:
    """Lower the threshold from value to value."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(saliency.flatten().tolist()), reverse=True):
        reached = [true for each, true in pairs(saliency) if each >= threshold]
        recall = sum(reached) / int(TRUTH.sum())
        total += (recall - before) * sum(reached) / len(reached)
        before = recall
    return total


def slow_best(saliency: Map) -> float:
    """Try every threshold."""
    found = []
    for threshold in saliency.flatten().tolist():
        both = sum(each >= threshold and true for each, true in pairs(saliency))
        either = sum(each >= threshold or true for each, true in pairs(saliency))
        found.append(both / either)
    return max(found)


def test_exactly_so_many_pixels_are_on_top_the_first_among_equals() -> None:
    """Even in a map with huge ties at zero, as a gate makes them."""
    for count in (0, 1, 37, 100):
        assert torch.equal(mark_top(TIED, count), slow_top(TIED, count))


def test_energy_is_the_share_of_the_map_inside() -> None:
    """One protocol looks at the map above its minimum, the other at the map itself."""
    low = min(each for each, _ in pairs(TIED))
    inside = sum(each - low for each, true in pairs(TIED) if true) / sum(each - low for each, _ in pairs(TIED))
    assert value("energy/score-cam", TIED - 5) == pytest.approx(inside, abs=1e-12)
    assert value("energy/sise", 3 + TIED - low) < inside
    assert value("energy/sise", TIED - low) == pytest.approx(inside, abs=1e-12)


def test_energy_is_not_defined_for_a_flat_map_or_one_below_zero() -> None:
    """A flat map scaled to 0…1 has no energy; as it is, it has the object's share of the image."""
    flat = torch.full((SIDE, SIDE), 3.0)
    assert math.isnan(value("energy", flat))
    assert value("energy/sise", flat) == pytest.approx(float(TRUTH.double().mean()))
    assert math.isnan(value("energy/sise", TIED - 2))
    assert math.isnan(value("energy/sise", flat * 0))


def test_the_overlap_is_that_of_the_highest_fifth() -> None:
    """By hand: 20 of 100 pixels, 12 of them in a truth of 22; and by loops."""
    saliency, truth = torch.zeros(10, 10), torch.zeros(10, 10, dtype=torch.bool)
    saliency[:2], truth[:3] = 1, True
    truth[0, :8] = False
    assert value("iou", saliency, truth) == 12 / 30
    marked = slow_top(TIED, 20)
    assert value("iou", TIED) == int((marked & TRUTH).sum()) / int((marked | TRUTH).sum())


def test_the_best_overlap_is_the_maximum_over_all_thresholds() -> None:
    """Pixels of one value are marked together; a map that is the truth reaches 1, which the fifth cannot."""
    assert value("iou/best", TIED) == pytest.approx(slow_best(TIED), abs=1e-12)
    assert value("iou/best", TRUTH.double()) == 1
    assert value("iou/sise-20", TRUTH.double()) < 1
    assert value("iou/best", torch.ones(SIDE, SIDE)) == float(TRUTH.double().mean())


def test_as_many_pixels_as_the_truth_has_are_held_against_it() -> None:
    """A map that is the truth covers all of it, and its opposite nothing of a truth below a half."""
    count = int(TRUTH.sum())
    assert value("bounding-box", TIED) == int((slow_top(TIED, count) & TRUTH).sum()) / count
    assert value("bounding-box", TRUTH.double()) == 1
    assert value("bounding-box", 1 - TRUTH.double()) == 0


def test_average_precision_equals_its_sum_over_thresholds() -> None:
    """Pixels of one value come together, so their order does not matter."""
    assert value("pixel-precision", TIED) == pytest.approx(slow_average_precision(TIED), abs=1e-12)
    assert value("pixel-precision", TIED.flip(0), TRUTH.flip(0)) == pytest.approx(slow_average_precision(TIED), abs=1e-12)
    assert value("pixel-precision", torch.ones(SIDE, SIDE)) == pytest.approx(float(TRUTH.double().mean()))


def test_average_precision_is_scikit_learns() -> None:
    """With and without ties, for rare and for common objects."""
    from sklearn import metrics

    for seed, share in enumerate((0.02, 0.3, 0.9)):
        truth = noise(20, 20, seed=seed) < share
        for saliency in (noise(20, 20, seed=9), (noise(20, 20, seed=9) * 5).floor()):
            known = metrics.average_precision_score(truth.flatten().numpy(), saliency.flatten().numpy())
            assert value("pixel-precision", saliency, truth) == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize("spec", ["energy", "energy/sise", "iou", "iou/best", "bounding-box", "pixel-precision"])
def test_without_an_object_nothing_is_defined(spec: str) -> None:
    """NaN, which a mean leaves out, and not a hit or a miss."""
    assert math.isnan(specs.make_measure(spec)(replace(case(TIED), truth=TRUTH & False)).value)


@pytest.mark.parametrize("spec", ["energy", "iou", "iou/best", "bounding-box", "pixel-precision"])
def test_an_offset_and_a_factor_change_nothing(spec: str) -> None:
    """These look at order, or scale the map first."""
    assert value(spec, 4 * TIED - 7) == pytest.approx(value(spec, TIED), abs=1e-12)
