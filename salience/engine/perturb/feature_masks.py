"""Feature maps as masks, and Otsu's threshold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from salience.engine import maps
from salience.engine.perturb.masks import MaskStack
from salience.types import Masks

FLAT = 1e-6  # a map whose values span less masks nothing


@dataclass(frozen=True)
class FeatureMasks(MaskStack):
    """Feature maps that become masks: each is enlarged bilinearly, then stretched to 0…1 by its own least and greatest.

    >>> FeatureMasks(torch.tensor([[[1.0, 3.0]]]), (1, 4)).rasterise(torch.zeros(1))
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """

    features: Float[Tensor, "n y x"]
    size: tuple[int, int]

    def rasterise(self, like: Tensor) -> Masks:
        """Enlarge first: a bilinear enlargement lowers the peak, so stretching first would not give 0…1."""
        large = self.features.to(like)
        if tuple(large.shape[1:]) != self.size:
            large = maps.enlarge(large, self.size)
        return maps.stretch(large, (1, 2))


def find_varying(features: Float[Tensor, "c y x"]) -> Int[Tensor, " n"]:
    """Return the numbers of the maps that are not constant; the others would mask nothing.

    >>> find_varying(torch.tensor([[[1.0, 1.0]], [[0.0, 2.0]]]))
    tensor([1])
    """
    return (features.amax((1, 2)) - features.amin((1, 2)) >= FLAT).nonzero()[:, 0]


def split_otsu(values: Float[Tensor, ...], bins: int = 256) -> float | None:
    """Split values in 0…1 where the variance between the two sides is greatest; None if all are equal.

    Returns the upper edge of the first best bin, so what is strictly greater lies above (Otsu 1979).

    >>> split_otsu(torch.tensor([0.1, 0.12, 0.8, 0.9]))
    0.12109375
    """
    flat = values.flatten().double()
    if len(flat) < 2 or float(flat.max()) == float(flat.min()):
        return None
    counts = torch.bincount((flat * bins).long().clamp(0, bins - 1), minlength=bins).double()
    centres = (torch.arange(bins, dtype=torch.float64, device=flat.device) + 0.5) / bins
    below, total = counts.cumsum(0), counts.sum()
    mass = (counts * centres).cumsum(0)
    above = total - below
    difference = mass / below.clamp(min=1) - (mass[-1] - mass) / above.clamp(min=1)
    between = torch.where((below > 0) & (above > 0), below * above * difference**2, 0.0)
    return (int((between >= between.max() * (1 - 1e-12)).nonzero()[0, 0]) + 1) / bins if float(between.max()) > 0 else None
