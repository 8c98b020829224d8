"""Where the highest point of a map lies."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from salience.boxes import toy
from salience.case import Case
from salience.measures.pointing_game import PointingGame
from salience.types import Map

TRUTH = torch.zeros(40, 40, dtype=torch.bool)
TRUTH[20:23, 21:24] = True


def case(*places: tuple[int, int]) -> Case:
    """Make a case whose map has equal maxima."""
    saliency: Map = torch.zeros(40, 40)
    for place in places:
        saliency[place] = 1
    return Case(toy.load("colour", size=40), toy.picture(40), 0, saliency, TRUTH)


@pytest.mark.parametrize(
    ("places", "strict", "torchray"),
    [
        ([(20, 21)], 1, 1),
        ([(20, 20)], 0, 1),
        ([(22, 37)], 0, 1),
        ([(22, 38)], 0, 0),
        ([(21, 15), (21, 29)], 1, 1),
        ([(39, 0), (39, 39)], 0, 0),
    ],
)
def test_a_hit_has_its_highest_point_in_the_truth_or_nearer_than_fifteen_pixels(
    places: list[tuple[int, int]], strict: float, torchray: float
) -> None:
    """Nearer than the tolerance, strictly; several highest points stand for their centroid."""
    assert PointingGame("strict")(case(*places)).value == strict
    assert PointingGame()(case(*places)).value == torchray


def test_nothing_is_hit_where_there_is_nothing() -> None:
    """An empty truth has no pixel to be near to."""
    assert math.isnan(PointingGame()(replace(case((1, 1)), truth=TRUTH & False)).value)
