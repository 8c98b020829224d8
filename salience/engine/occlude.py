"""Fold the drops of hidden windows: at each pixel the mean drop of the windows that hid it."""

from __future__ import annotations

import torch

from salience.engine import maps
from salience.engine.masks import Windows
from salience.types import Found, Map, Scores


class Drops:
    """Pooled and coverage-normalised: Σ ω · drop / Σ ω over the windows that hide a pixel, of any size and round."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.count = 0
        self.sums = torch.zeros(2, 2, *size, dtype=torch.float64)  # half, (Σ ω drop, Σ ω)

    def add(self, windows: Windows, drops: Scores, weight: float = 1.0) -> None:
        """Take in windows and what hiding each cost. Odd and even windows go to different halves."""
        side = (torch.arange(len(windows)) + self.count) % 2
        for half in (0, 1):
            chosen = side == half
            part = Windows(windows.edges[chosen], windows.size)
            self.sums[half, 0] += weight * part.cover(drops.cpu()[chosen])
            self.sums[half, 1] += weight * part.cover(torch.ones(len(part)))
        self.count += len(windows)

    def map(self) -> Map:
        """Return the mean drop; 0 where nothing was hidden."""
        cost, times = self.sums.sum(0)
        mean: Map = cost / times.clamp(min=1e-9)
        return mean

    def found(self) -> Found:
        """Return the map, and how far the halves agree where both have looked."""
        halves = self.sums[:, 0] / self.sums[:, 1].clamp(min=1e-9)
        both = (self.sums[:, 1] > 0.5).all(0)
        stability = maps.agreement(halves[0][both], halves[1][both]) if int(both.sum()) > 16 else None
        return Found(self.map().float(), stability=stability)
