"""Fold the drops of hidden windows: at each pixel the mean drop of the windows that hid it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import maps
from salience.engine.perturb.masks import Windows, integrate
from salience.estimates import Estimate
from salience.types import Map, Scores


class OcclusionEstimate:
    """Pooled and coverage-normalised: Σ ω · drop / Σ ω over the windows that hide a pixel, of any size and round.

    >>> estimate = OcclusionEstimate((1, 3))
    >>> estimate.add(Windows(torch.tensor([[0, 1, 0, 2], [0, 1, 1, 3]]), (1, 3)), torch.tensor([0.2, 0.6]))
    >>> estimate.map().round(decimals=6)
    tensor([[0.2000, 0.4000, 0.6000]], dtype=torch.float64)
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.count = 0
        self.corners = torch.zeros(2, 2, size[0] + 1, size[1] + 1, dtype=torch.float64)  # half, (Σ ω drop, Σ ω)

    def add(self, windows: Windows, drops: Scores, weight: float = 1.0) -> None:
        """Add windows and the drop of each. Odd and even windows go to different halves."""
        side = (torch.arange(len(windows)) + self.count) % 2
        for half in (0, 1):
            chosen = side == half
            part = Windows(windows.edges[chosen], windows.size)
            part.add_to_corners(weight * drops.cpu().double()[chosen], self.corners[half, 0])
            part.add_to_corners(torch.full((len(part),), weight, dtype=torch.float64), self.corners[half, 1])
        self.count += len(windows)

    def map(self) -> Map:
        """Return the mean drop; 0 where nothing was hidden."""
        return divide(*integrate(self.corners.sum(0)))

    def estimate(self) -> Estimate:
        """Return the map, and the agreement of the halves where both hid something."""
        sums = integrate(self.corners)
        halves = divide(sums[:, 0], sums[:, 1])
        both = (sums[:, 1] > 0.5).all(0)
        stability = maps.rank_agreement(halves[0][both], halves[1][both]) if int(both.sum()) > 16 else None
        return Estimate(self.map().float(), stability=stability)


def divide(drops: Float[Tensor, "*n h w"], times: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    """Divide; 0 where nothing was hidden, whatever rounding leaves there.

    >>> divide(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    return torch.where(times > 1e-6, drops / times.clamp(min=1e-6), 0)
