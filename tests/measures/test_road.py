"""ROAD in each of its protocols; the imputation itself is tested in tests/measures/test_impute.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.case import Case, MeasureResult
from salience.engine import seeding
from salience.engine.query.run import start_run
from salience.errors import SettingError
from salience.measures.road import Road, find_deviation
from salience.picture import Preparation
from tests.helpers import Asked, brightness, curved, noise
from tests.measures.test_impute import slow as filled

SIDE = 10
DENSE = curved(SIDE).module[1].weight.detach().reshape(3, 3, SIDE, SIDE)
IMAGE = 0.4 + 0.2 * (DENSE[2] > DENSE[1]).double()  # of class 2 by a pattern that filling wipes out
SALIENCY = (noise(SIDE, SIDE, seed=3) * 30).floor()  # with ties
NINE, FOUR = [number / 10 for number in range(1, 10)], [0.1, 0.3, 0.5, 0.7]
TARGET = 2


def slow(way: str, levels: list[float], size: float, *, ties: bool) -> tuple[list[float], list[float]]:
    """Remove pixel after pixel, fill by a dense solution, add the noise, and ask once a level."""
    box, flat = curved(SIDE), SALIENCY.flatten().tolist()
    noises = torch.randn(len(levels), 3, SIDE, SIDE, generator=seeding.generator(4, "road", way)).double()
    order = sorted(range(SIDE * SIDE), key=lambda at: (-flat[at] if way == "morf" else flat[at], at))
    scores, agreed = [], []
    for level, drawn in zip(levels, noises, strict=True):
        gone = order[: round(level * SIDE * SIDE)]
        if ties:
            last = flat[gone[-1]]
            gone = [at for at in order if (flat[at] >= last if way == "morf" else flat[at] <= last)]
        removed = torch.zeros(SIDE * SIDE, dtype=torch.bool)
        removed[gone] = True
        removed = removed.reshape(SIDE, SIDE)
        answer = box((filled(IMAGE, removed) + size * drawn * removed)[None])[0]
        scores.append(float(answer[TARGET]))
        agreed.append(float(int(answer.argmax()) == TARGET))
    return scores, agreed


def road(protocol: str, noise: float | None = None) -> MeasureResult:
    """Measure the same case."""
    return Road(protocol, noise, seed=4)(Case(curved(SIDE), IMAGE, TARGET, SALIENCY))


@pytest.mark.parametrize("size", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("way", ["morf", "lerf"])
def test_accuracy_equals_its_definition_in_plain_loops(way: str, size: float) -> None:
    """Nine levels, ties in reading order; the score's curve is kept beside."""
    scores, agreed = slow(way, NINE, size, ties=False)
    assert set(agreed) == {0, 1}  # the case tells the answers apart
    found = road(f"{way}-2022", None if size == 0.01 else size)
    assert found.evidence[f"{way} score"] == {"x": NINE, "y": pytest.approx(scores, abs=1e-4)}
    assert found.evidence[f"{way} agreement"] == {"x": NINE, "y": agreed}
    assert found.value == pytest.approx(np.mean(agreed))


def test_combined_is_half_of_what_the_scores_of_both_orders_differ_by() -> None:
    """Of the score and not of the agreement, so any target will do."""
    ways = [np.mean(slow(way, NINE, 0.01, ties=False)[0]) for way in ("lerf", "morf")]
    assert road("combined-2022").value == pytest.approx((ways[0] - ways[1]) / 2, abs=1e-4)
    box = curved(SIDE)
    one, other, pair = (Road("combined-2022")(Case(box, IMAGE, each, SALIENCY)).value for each in (0, 1, (0, 1)))
    assert pair == pytest.approx(one - other, abs=1e-6)


@pytest.mark.parametrize("way", ["morf", "lerf"])
def test_ptames_area_equals_its_closed_form(way: str) -> None:
    """0.05 + 0.15 a(.1) + 0.20 a(.3) + 0.20 a(.5) + 0.25 a(.7), with all equals of the last pixel removed."""
    scores, agreed = slow(way, FOUR, 0.01, ties=True)
    assert set(agreed) == {0, 1}
    found = road(f"ptame-{way}")
    assert found.evidence[f"{way} score"]["y"] == pytest.approx(scores, abs=1e-4)
    assert found.value == pytest.approx(0.05 + np.dot([0.15, 0.2, 0.2, 0.25], agreed))


def test_a_good_map_beats_its_opposite_in_every_protocol() -> None:
    """The patch gone first, nothing around it tells of red; kept to the last, all does."""
    box, image, good = toy.load("colour"), toy.picture(), 1e-3 * noise(32, 32)
    good[6:14, 14:22] += 1
    for protocol in ("morf-2022", "lerf-2022", "combined-2022", "ptame-morf", "ptame-lerf"):
        measure = Road(protocol)
        best, worst = (measure(Case(box, image, 0, each)).value for each in (good, -good))
        assert best < worst - 0.2 if measure.better == "lower" else best > worst + 0.2


def test_a_box_that_always_agrees_has_the_bounds_of_the_range() -> None:
    """1 by accuracy, 0 combined, 0.85 by P-TAME's area, which 0.05 is the least of; and the passes are as told."""
    box = toy.load("constant", size=SIDE)
    bounds = {"morf-2022": (1, 9), "lerf-2022": (1, 9), "combined-2022": (0, 18), "ptame-morf": (0.85, 4)}
    for protocol, (value, passes) in bounds.items():
        with start_run() as run:
            found = Road(protocol)(Case(box, IMAGE.float(), 0, SALIENCY))
        assert found.value == pytest.approx(value, abs=1e-9)
        assert run.passes == passes
    assert Road("ptame-lerf")(Case(box, IMAGE.float(), 1, SALIENCY)).value == pytest.approx(0.05)


def test_agreement_is_not_defined_where_the_target_is_no_class() -> None:
    """NaN, and never a silent 0; nor is anything for a map that is no number."""
    for protocol in ("morf-2022", "ptame-lerf"):
        assert np.isnan(Road(protocol)(Case(curved(SIDE), IMAGE, (0, 1), SALIENCY)).value)
    assert np.isnan(Road("combined-2022")(Case(curved(SIDE), IMAGE, 0, SALIENCY / 0)).value)


def test_the_noise_is_in_the_boxs_normalised_space_and_only_on_removed_pixels() -> None:
    """Its deviation is 0.01 of the box's own; a box that tells none has 1."""
    box, image = curved(224), torch.full((3, 224, 224), 0.5)
    box.preparation = Preparation((224, 224), mean=(0.5,) * 3, std=(0.1, 0.2, 0.4))
    removed = torch.zeros(1, 224, 224, dtype=torch.bool)
    removed[0, :112] = True
    shown = Road().fill_removed(Case(box, image, 0, image[0]), removed, "morf")[0] - 0.5
    assert shown[:, :112].std((1, 2)).tolist() == pytest.approx([0.001, 0.002, 0.004], rel=0.02)
    assert not bool(shown[:, 112:].any())
    assert find_deviation(Asked(brightness), image).flatten().tolist() == [1, 1, 1]


def test_noise_below_zero_is_refused() -> None:
    """In a sentence."""
    with pytest.raises(SettingError, match="expected 0 ≤ noise, got -1"):
        specs.make_measure("road?noise=-1")
