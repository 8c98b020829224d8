"""How masks and scores vary together, kept in groups, so that the error of whatever is made of it can be found.

The jackknife leaves each group out in turn: the spread of the results is the standard error of the whole, whatever is
done with the covariance afterwards (Tukey 1958). Masks are kept at a coarse size, which smoothing allows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from salience.types import Map, Masks, Scores

Choice = Bool[Tensor, " g"]


class Covariance:
    """The sums 1, y, m and y·m of each group of masks, in double precision."""

    def __init__(self, groups: int, size: tuple[int, int]) -> None:
        self.size = size
        self.plain = torch.zeros(groups, 2, dtype=torch.float64)  # N, Σ y
        self.sums = torch.zeros(groups, 2, size[0] * size[1], dtype=torch.float64)  # Σ m, Σ y m

    def add(self, group: int, masks: Masks, scores: Scores) -> None:
        """Take in masks of a group."""
        flat = functional.adaptive_avg_pool2d(masks[:, None], self.size).flatten(1).cpu().double()
        powers = torch.stack([torch.ones_like(scores), scores]).cpu().double()
        self.plain[group] += powers.sum(1)
        self.sums[group] += powers @ flat

    def fold(self, chosen: Choice) -> Map:
        """Return the covariance of score and mask at each pixel, over the groups chosen; 0 where there is no mask."""
        count, total = self.plain[chosen].sum(0)
        shown, weighed = self.sums[chosen].sum(0)
        found: Map = ((weighed - total / count.clamp(min=1) * shown) / count.clamp(min=1)).reshape(self.size)
        return found


def jackknife(fold: Callable[[Choice], Map], filled: Choice) -> tuple[Map, Map | None]:
    """Fold all groups that have masks, and find the standard error; None where there are fewer than four groups."""
    count = int(filled.sum())
    if count < 4:
        return fold(filled), None
    without = torch.stack([fold(filled & (torch.arange(len(filled)) != left)) for left in torch.nonzero(filled)[:, 0]])
    spread = (without - without.mean(0)).square().sum(0) * (count - 1) / count
    return fold(filled), spread.sqrt()
