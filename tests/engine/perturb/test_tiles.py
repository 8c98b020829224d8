"""Tiles against their slow definition."""

from __future__ import annotations

import pytest
import torch

from salience.engine.perturb.tiles import Tiles
from tests.helpers import noise


@pytest.mark.parametrize("size", [(6, 6), (7, 11), (3, 4)])
def test_a_pixel_takes_the_value_of_its_tile(size: tuple[int, int]) -> None:
    """Pixel y of h lies in row ⌊y · s / h⌋ of s, and columns likewise; a part of a lot is drawn as the whole."""
    tiles = Tiles(noise(5, 3, 3), size)
    drawn = tiles.rasterise(torch.zeros(0, dtype=torch.float64))
    assert drawn.shape == (5, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            assert torch.equal(drawn[:, y, x], tiles.values[:, y * 3 // size[0], x * 3 // size[1]])
    assert torch.equal(tiles[1:3].rasterise(drawn), drawn[1:3])
