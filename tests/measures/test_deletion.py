"""Deletion in each of its protocols, and what it shares with insertion."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.case import Case
from salience.engine.query.budget import Budget
from salience.engine.query.run import start_run
from salience.engine.query.score_cache import share_scores
from salience.errors import BudgetError, SettingError
from salience.measures.deletion import Deletion
from tests.helpers import Asked, apart, brightness, curved, noise

IMAGE = noise(3, 8, 8)
SALIENCY = (noise(8, 8, seed=3) * 20).floor()  # with ties


def slow(step: int) -> tuple[list[int], list[float]]:
    """Copy the mean colour over pixel after pixel, the highest first, ties in reading order."""
    box, shown = curved(), IMAGE.clone()
    counts, scores = [0], [float(box(shown[None])[0, 1])]
    order = sorted(range(64), key=lambda at: (-float(SALIENCY.flatten()[at]), at))
    for begin in range(0, 64, step):
        for at in order[begin : begin + step]:
            for channel in range(3):
                shown[channel, at // 8, at % 8] = 0.5
        counts.append(min(begin + step, 64))
        scores.append(float(box(shown[None])[0, 1]))
    return counts, scores


@pytest.mark.parametrize("step", [1, 7, 64, 100])
@pytest.mark.parametrize("protocol", ["rise-2018", "blur-51"])
def test_a_curve_of_rise_equals_its_definition_in_plain_loops(protocol: str, step: int) -> None:
    """All channels of a pixel go together, and a last, shorter step is as wide as the others."""
    found = Deletion(protocol, step)(Case(curved(), IMAGE, 1, SALIENCY))
    _, scores = slow(step)
    assert found.evidence["curve"]["y"] == pytest.approx(scores, abs=1e-9)
    assert found.evidence["curve"]["x"] == pytest.approx(list(np.linspace(0, 1, len(scores))))
    assert found.value == pytest.approx((sum(scores) - (scores[0] + scores[-1]) / 2) / (len(scores) - 1), abs=1e-9)


def test_a_curve_of_torchcam_equals_its_definition_in_plain_loops() -> None:
    """64 pixels in steps of ⌈64 / 20⌉ = 4, here of 7: the last one hides a pixel and is as narrow."""
    case = Case(curved(), IMAGE, 1, SALIENCY)
    assert len(Deletion("torchcam")(case).evidence["curve"]["x"]) == 17
    found, (counts, scores) = Deletion("torchcam", step=7)(case), slow(7)
    wide = [(after - before) / 64 for before, after in pairwise(counts)]
    area = sum(w * (a + b) / 2 for w, a, b in zip(wide, scores, scores[1:], strict=False))
    assert found.evidence["curve"]["x"] == pytest.approx([each / 64 for each in counts])
    assert found.value == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("protocol", ["rise-2018", "torchcam", "blur-51"])
def test_a_curve_begins_at_the_image_and_ends_at_the_plain_colour(protocol: str) -> None:
    """At the very scores."""
    box, image = toy.load("colour"), toy.picture()
    curve = Deletion(protocol)(Case(box, image, 0, noise(32, 32))).evidence["curve"]["y"]
    assert curve[0] == float(box(image[None])[0, 0])
    assert curve[-1] == float(box(torch.full_like(image, 0.5)[None])[0, 0])


def test_the_protocols_ask_as_often_as_they_say() -> None:
    """225, 21 and 113 passes at 224 × 224; ⌈pixels / step⌉ + 1 in general; batches change nothing."""
    box, image = toy.load("constant", size=224), torch.zeros(3, 224, 224)
    for protocol, passes in (("rise-2018", 225), ("torchcam", 21), ("blur-51", 113)):
        with start_run() as run:
            assert Deletion(protocol)(Case(box, image, 0, image[0])).value == pytest.approx(1)
        assert run.passes == passes
    found = []
    for batch in (1, 5, 64):
        with start_run(batch=batch) as run:
            found.append(Deletion(step=10)(Case(curved(), IMAGE, 1, SALIENCY)).evidence["curve"]["y"])
        assert run.passes == 8
    assert apart(torch.tensor(found[0]), torch.tensor(found[1])) < 1e-6
    assert apart(torch.tensor(found[0]), torch.tensor(found[2])) < 1e-6


def test_a_good_map_beats_its_opposite() -> None:
    """The patch gone first, the score falls at once."""
    box, image, good = toy.load("colour"), toy.picture(), torch.zeros(32, 32)
    good[6:14, 14:22] = 1
    for protocol in ("rise-2018", "torchcam", "blur-51"):
        best, worst = (Deletion(protocol, 16)(Case(box, image, 0, each)).value for each in (good, -good))
        assert best < worst - 0.2


def test_a_map_that_is_no_number_has_no_value() -> None:
    """Its order means nothing."""
    assert np.isnan(Deletion()(Case(curved(), IMAGE, 1, SALIENCY * float("nan"))).value)


def test_answers_are_remembered_by_order_and_count() -> None:
    """Another target of the same map asks nothing anew; another map asks again."""
    box, image = Asked(brightness), noise(3, 8, 8, dtype=torch.float32)
    with share_scores():
        first, second = (Deletion(step=8)(Case(box, image, target, SALIENCY)).value for target in (0, 1))
        assert sum(box.batches) == 9
        Deletion(step=8)(Case(box, image, 0, -SALIENCY))
    assert sum(box.batches) == 18
    assert first == pytest.approx(1 - second)


def test_a_step_below_one_and_a_budget_too_small_are_refused() -> None:
    """A part of a curve has no area."""
    with pytest.raises(SettingError, match="expected 1 ≤ step, got 0"):
        specs.make_measure("deletion/rise-2018?step=0")
    with start_run(Budget(passes=5)), pytest.raises(BudgetError, match="at least 9 passes for a curve"):
        Deletion(step=8)(Case(curved(), IMAGE, 1, SALIENCY))
