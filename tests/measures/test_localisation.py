"""Where a map lies."""

from __future__ import annotations

import pytest
import torch

from salience.measures import _localisation as localisation

TRUTH = torch.zeros(10, 10, dtype=torch.bool)
TRUTH[2:5, 3:6] = True


def peak(*places: tuple[int, int]) -> torch.Tensor:
    """Make a map with equal maxima."""
    saliency = torch.zeros(10, 10)
    for place in places:
        saliency[place] = 1
    return saliency


@pytest.mark.parametrize(
    ("saliency", "tolerance", "expected"),
    [
        (peak((2, 3)), 0, True),
        (peak((2, 2)), 0, False),
        (peak((2, 2)), 2, True),
        (peak((4, 9)), 4, False),
        (peak((4, 9)), 5, True),
        (peak((3, 0), (3, 8)), 0, True),
        (peak((9, 0), (9, 9)), 0, False),
    ],
)
def test_a_hit_has_its_maximum_in_the_truth_or_near(saliency: torch.Tensor, tolerance: int, expected: bool) -> None:
    """Nearer than the tolerance, strictly; several maxima stand for their centroid."""
    assert localisation.hit(saliency, TRUTH, tolerance) is expected


def test_nothing_is_hit_where_there_is_nothing() -> None:
    """An empty truth has no pixel to be near to."""
    assert not localisation.hit(peak((1, 1)), TRUTH & False, 15)


def test_energy_is_the_share_inside() -> None:
    """Of the map above its minimum; a flat map has the share of the truth's area."""
    assert localisation.energy(peak((2, 3), (9, 9)) - 5, TRUTH) == pytest.approx(0.5)
    assert localisation.energy(torch.full((10, 10), 3.0), TRUTH) == pytest.approx(0.09)


def test_area_is_the_share_above_the_threshold() -> None:
    """Min + 0.3 · (max − min), whatever the offset."""
    assert localisation.area(peak((2, 3), (9, 9)) - 5) == pytest.approx(0.02)
