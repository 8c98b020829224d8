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
        return self._of(self.products + sum(each.products for each in others))

    def without(self, *others: History) -> History:
        """Return the history of what this one has and those have not."""
        return self._of(self.products - sum(each.products for each in others))

    def _of(self, products: Tensor) -> History:
        whole = History(self.paint, len(self.products) - 2)
        whole.products = products
        return whole

    def fold(self) -> tuple[Map, None]:
        """Return the map."""
        n = float(self.products[0, 0].clamp(min=1))
        cov = torch.addr(self.products, self.products[0], self.products[0], alpha=-1 / n).div_(n)
        xx, xy = cov[1:-1, 1:-1], cov[1:-1, -1:]
        xx.diagonal().add_(0.1 if n < 10 * len(xx) else 0.01)
        return self.paint(torch.cholesky_solve(xy, torch.linalg.cholesky(xx))[:, 0]), None
