"""P-TAME's regularisers against plain loops, and where they are known."""

from __future__ import annotations

import pytest
import torch

from salience.trainers._p_tame import losses
from tests.helpers import noise


def test_the_area_is_the_mean_of_a_power_of_every_value() -> None:
    """Written out, value by value."""
    maps = noise(2, 3, 4, 5)
    terms = [(value + 0.0005) ** 0.3 for value in maps.flatten().tolist()]
    assert float(losses.area(maps, 0.3)) == pytest.approx(sum(terms) / len(terms), abs=1e-14)
    assert float(losses.area(maps, 1)) == pytest.approx(float(maps.mean()), abs=1e-14)


def test_the_variation_is_the_sum_of_squared_steps_and_borders_by_picture() -> None:
    """Written out, pixel by pixel; corners belong to a row and to a column, so they count twice."""
    maps, border = noise(2, 3, 4, 5), 0.3
    total = 0.0
    for picture in maps.tolist():
        for rows in picture:
            total += sum((rows[y + 1][x] - rows[y][x]) ** 2 for y in range(3) for x in range(5))
            total += sum((rows[y][x + 1] - rows[y][x]) ** 2 for y in range(4) for x in range(4))
            total += border * sum(rows[y][x] ** 2 for y in (0, 3) for x in range(5))
            total += border * sum(rows[y][x] ** 2 for y in range(4) for x in (0, 4))
    assert float(losses.variation(maps, border)) == pytest.approx(total / (2 * 2), abs=1e-12)


def test_a_constant_map_varies_at_its_border_only() -> None:
    """β · (2h + 2w) · v² / 2."""
    assert float(losses.variation(torch.full((1, 1, 6, 9), 0.4), 0.3)) == pytest.approx(0.3 * 30 * 0.16 / 2, abs=1e-6)


def test_a_batch_of_one_picture_many_times_has_the_area_of_one() -> None:
    """Every map of the batch is then one map."""
    own = noise(1, 1, 5, 5)
    assert float(losses.area(own.expand(4, 4, 5, 5), 0.3)) == pytest.approx(float(losses.area(own, 0.3)), abs=1e-14)
