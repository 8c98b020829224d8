"""Sufficiency and necessity at an area."""

from __future__ import annotations

import math

import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.case import Case
from salience.errors import SettingError
from salience.types import Map
from tests.helpers import curved, noise

IMAGE = noise(3, 8, 8)
TIED = (noise(8, 8, seed=3) * 6).floor()


def slow(name: str, saliency: Map, share: float) -> float:
    """Paint pixel after pixel in the mean colour."""
    order = sorted(range(64), key=lambda at: (-float(saliency.flatten()[at]), at))
    count = round(64 * share)
    shown = IMAGE.clone()
    for at in order[count:] if name == "sufficiency" else order[:count]:
        shown[:, at // 8, at % 8] = 0.5
    before, after = (float(curved()(each[None])[0, 2]) for each in (IMAGE, shown))
    return after / before


@pytest.mark.parametrize("share", [None, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["sufficiency", "necessity"])
def test_they_equal_their_definition_in_plain_loops(name: str, share: float | None) -> None:
    """Exactly so many pixels, the first in reading order among equal ones."""
    spec = f"{name}/mean-10" + (f"?share={share}" if share else "")
    found = specs.make_measure(spec)(Case(curved(), IMAGE, 2, TIED)).value
    assert found == pytest.approx(slow(name, TIED, share or 0.1), abs=1e-12)


def test_what_is_kept_of_one_map_is_removed_of_the_opposite_one() -> None:
    """Keeping the highest share is removing all the others: those that the turned map has highest."""
    saliency = noise(8, 8, seed=3)  # no two pixels are equal
    kept = specs.make_measure("sufficiency?share=0.25")(Case(curved(), IMAGE, 2, saliency)).value
    removed = specs.make_measure("necessity?share=0.75")(Case(curved(), IMAGE, 2, -saliency)).value
    assert kept == pytest.approx(removed, abs=1e-12)


def test_a_drop_is_what_is_missing_of_sufficiency() -> None:
    """At SISE's area, where the score falls."""
    case = Case(toy.load("colour", size=8), toy.picture(8, top=2, left=2, patch=4), 0, -TIED.float())
    kept, drop = (specs.make_measure(each)(case).value for each in ("sufficiency?share=0.15", "average-drop/sise-15"))
    assert kept < 1
    assert drop == pytest.approx(1 - kept, abs=1e-6)


def test_without_a_score_there_is_nothing_to_relate_to() -> None:
    """A black image scores 0 on a linear box."""
    case = Case(toy.linear(torch.ones(8, 8)), torch.zeros(3, 8, 8), 1, TIED)
    assert all(math.isnan(specs.make_measure(each)(case).value) for each in ("sufficiency", "necessity"))


@pytest.mark.parametrize("share", [0, 1, -0.1, 10])
def test_a_share_lies_between_nothing_and_all(share: float) -> None:
    """It is a part, not per cent."""
    for name in ("sufficiency", "necessity"):
        with pytest.raises(SettingError, match=f"expected 0 < share < 1, got {share:g}: give 0.1 for a tenth"):
            specs.make_measure(f"{name}?share={share}")
