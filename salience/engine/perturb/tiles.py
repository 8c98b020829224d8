"""Masks of tiles: a grid with one value a tile and hard edges between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine.perturb.masks import MaskStack
from salience.types import Masks


@dataclass(frozen=True)
class Tiles(MaskStack):
    """Grids of values in 0…1; every pixel takes the value of its tile.

    >>> Tiles(torch.tensor([[[0.0, 1.0], [0.5, 0.2]]]), (2, 4)).rasterise(torch.zeros(1))
    tensor([[[0.0000, 0.0000, 1.0000, 1.0000],
             [0.5000, 0.5000, 0.2000, 0.2000]]])
    """

    values: Float[Tensor, "n s s"]
    size: tuple[int, int]

    def rasterise(self, like: Tensor) -> Masks:
        """Repeat each value over its tile; where the sides do not divide, tiles differ by a pixel."""
        rows, columns = (torch.arange(length, device=like.device) * self.values.shape[-1] // length for length in self.size)
        return self.values.to(like).index_select(2, columns).index_select(1, rows)
