"""Regress the scores of all masks that were tried on what each kept: DE-CAM's map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from salience.types import Map, Masks, Scores


class History:
    """The map is (Cov + k I)⁻¹ v, where Cov is the masks' covariance and v theirs with the scores.

    k is 0.01, and 0.1 while there are fewer than ten masks a number. Running sums: no mask is kept.
    """

    def __init__(self, paint: Callable[[Float[Tensor, " r"]], Map], wide: int) -> None:
        self.paint = paint
        self.products = torch.zeros(wide + 2, wide + 2, dtype=torch.float64)  # 1, the row, the score

    def add(self, masks: Masks, scores: Scores) -> None:
        """Take in a batch; a row stands for its mask."""
        rows = torch.cat([torch.ones_like(scores)[:, None], masks.flatten(1), scores[:, None]], dim=1)
        self.products += rows.T @ rows

    def merge(self, *others: History) -> History:
        """Return the history of all."""
        whole = History(self.paint, len(self.products) - 2)
        whole.products = torch.stack([self.products, *(each.products for each in others)]).sum(0)
        return whole

    def fold(self) -> tuple[Map, None]:
        """Return the map."""
        n = self.products[0, 0].clamp(min=1)
        cov = self.products / n - torch.outer(self.products[0], self.products[0]) / n**2
        xx, xy = cov[1:-1, 1:-1], cov[1:-1, -1]
        penalty = 0.1 if n < 10 * len(xx) else 0.01
        return self.paint(torch.linalg.solve(xx + penalty * torch.eye(len(xx), dtype=xx.dtype), xy)), None
