"""AOPC by regions and by pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.case import Case
from salience.engine import seeding
from salience.engine.query.run import start_run
from salience.errors import SettingError
from salience.measures.aopc import Aopc
from tests.helpers import curved, noise

SIDE = 20
IMAGE, SALIENCY = noise(3, SIDE, SIDE), noise(SIDE, SIDE, seed=3) - 0.3


def slow(places: list[list[tuple[int, int]]], colours: torch.Tensor) -> list[float]:
    """Replace place after place, and note what is left of the score."""
    box, shown = curved(SIDE), IMAGE.clone()
    scores = [float(box(shown[None])[0, 1])]
    for place in places:
        for y, x in place:
            shown[:, y, x] = colours[:, y, x]
        scores.append(float(box(shown[None])[0, 1]))
    return scores


def test_regions_equal_their_definition_in_plain_loops() -> None:
    """9×9 pixels from the top left, those at the border cut to 9×2, 2×9 and 2×2; by the map's mean; three samples."""
    grid = [(y, x) for y in range(0, SIDE, 9) for x in range(0, SIDE, 9)]
    places = [[(b, a) for b in range(y, min(y + 9, SIDE)) for a in range(x, min(x + 9, SIDE))] for y, x in grid]
    places.sort(key=lambda place: -np.mean([float(SALIENCY[at]) for at in place]))
    curves = []
    for number in range(3):
        colours = torch.rand(3, SIDE, SIDE, generator=seeding.generator(7, "aopc", number)).double()
        curves.append(slow(places[:5], colours))
    found = Aopc(steps=5, samples=3, seed=7)(Case(curved(SIDE), IMAGE, 1, SALIENCY))
    assert found.evidence["curve"]["y"] == pytest.approx(list(np.mean(curves, 0)), abs=1e-9)
    assert found.evidence["curve"]["x"] == [0, 1, 2, 3, 4, 5]
    assert found.value == pytest.approx(np.mean([curve[0] - each for curve in curves for each in curve]), abs=1e-9)


def test_pixels_equal_their_definition_in_plain_loops() -> None:
    """A tenth of the pixels a step in the order of |map|, nine times, replaced by the image's own mean colour."""
    order = sorted(((y, x) for y in range(SIDE) for x in range(SIDE)), key=lambda at: -abs(float(SALIENCY[at])))
    colours = IMAGE.mean((1, 2))[:, None, None].expand_as(IMAGE)
    scores = slow([order[begin : begin + 40] for begin in range(0, 360, 40)], colours)
    found = Aopc("scaat")(Case(curved(SIDE), IMAGE, 1, SALIENCY))
    assert found.evidence["curve"]["y"] == pytest.approx(scores, abs=1e-9)
    assert found.value == pytest.approx(np.mean([scores[0] - each for each in scores]), abs=1e-9)


def test_a_score_that_nothing_changes_has_lost_nothing() -> None:
    """Zero, and the passes are those that the docstring says: at most 100 regions, 10 samples."""
    box, image = toy.load("constant", size=100), noise(3, 100, 100, dtype=torch.float32)
    for measure, passes in ((Aopc(), 1010), (Aopc("scaat"), 10), (Aopc(steps=200, samples=1), 145)):
        with start_run() as run:
            assert measure(Case(box, image, 0, image[0])).value == 0
        assert run.passes == passes


def test_a_good_map_beats_its_opposite_and_the_seed_matters_a_little() -> None:
    """The patch destroyed first, the score is lost at once."""
    box, image, good = toy.load("colour"), toy.picture(), torch.zeros(32, 32)
    good[6:14, 14:22] = 1
    for measure in (Aopc(), Aopc("scaat")):
        best, worst = (measure(Case(box, image, 0, each)).value for each in (good, good.max() / 2 - good / 2.1))
        assert best > worst + 0.1
    one, other = (Aopc(seed=seed)(Case(box, image, 0, good)).value for seed in (0, 1))
    assert one != other
    assert one == pytest.approx(other, abs=0.1)


def test_a_map_that_is_no_number_has_no_value() -> None:
    """Its order means nothing."""
    assert np.isnan(Aopc()(Case(curved(SIDE), IMAGE, 1, SALIENCY * float("nan"))).value)


def test_settings_that_mean_nothing_are_refused() -> None:
    """One sentence each."""
    with pytest.raises(SettingError, match="expected 1 ≤ steps, got 0"):
        specs.make_measure("aopc?steps=0")
    with pytest.raises(SettingError, match="expected no samples for scaat, which has one colour, got 3: leave them out"):
        specs.make_measure("aopc/scaat?samples=3")
