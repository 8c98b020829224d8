"""The levels of a map: scaled to 0…1, its highest pixels, and each of its values as a threshold for a truth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import maps
from salience.types import Map, Region


def scale(saliency: Map) -> Map:
    """Scale a map to 0…1: (map − min) / (max − min). A flat map has no levels and becomes NaN."""
    stretched = maps.stretch(saliency)
    return stretched / stretched.max()  # by 1, or 0 / 0


def count_by_threshold(saliency: Map, truth: Region) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
    """Count for each value of the map, the highest first, the pixels that reach it and those of them in the truth."""
    values, order = saliency.flatten().sort(descending=True)
    last = torch.cat([values[1:] != values[:-1], torch.ones_like(truth.flatten()[:1])])  # equal pixels come together
    hits = truth.flatten()[order].cumsum(0)
    return torch.nonzero(last)[:, 0].double() + 1, hits[last].double()
