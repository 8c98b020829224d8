"""Regress the scores of all masks that were tried on what each kept: DE-CAM's map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import maps
from salience.engine.estimate import jackknife
from salience.engine.perturb.designs import BLOCK
from salience.estimates import Estimate
from salience.types import Masks, Scores


class MaskRegression:
    """The map is (Cov + k I)⁻¹ v, where Cov is the masks' covariance and v theirs with the scores.

    k is 0.01, and 0.1 while there are fewer than ten masks a number. Running sums, a row and column a number: no mask is
    kept. Blocks of masks go to groups in turn, for the jackknife and, those of even and of odd number, for the stability.
    """

    def __init__(self, paint: Callable[[Float[Tensor, "g r"]], Float[Tensor, "g h w"]], numbers: int) -> None:
        self.paint, self.count = paint, 0
        self.products = torch.zeros(jackknife.GROUPS, numbers + 2, numbers + 2, dtype=torch.float64)  # 1, the row, the score

    def add(self, masks: Masks, scores: Scores) -> None:
        """Add a batch; a row stands for its mask."""
        rows = torch.cat([torch.ones_like(scores)[:, None], masks.flatten(1), scores[:, None]], dim=1)
        while len(rows):
            block, rows = rows.tensor_split([BLOCK - self.count % BLOCK])
            self.products[self.count // BLOCK % jackknife.GROUPS].addmm_(block.mT, block)
            self.count += len(block)

    def solve(self, products: Float[Tensor, "g r r"]) -> Float[Tensor, "g d"]:
        """Return the regression's weights."""
        n = products[:, :1, :1].clamp(min=1)
        cov = (products - products[:, :, :1] * products[:, :1] / n) / n
        xx, xy = cov[:, 1:-1, 1:-1], cov[:, 1:-1, -1:]
        xx.diagonal(dim1=1, dim2=2).add_(torch.where(n[:, 0] < 10 * xx.shape[1], 0.1, 0.01))
        return torch.cholesky_solve(xy, torch.linalg.cholesky(xx))[..., 0]

    def estimate(self) -> Estimate:
        """Fold all masks so far. Stability compares every fourth pixel of the halves' maps."""
        used = min(jackknife.GROUPS, -(-self.count // BLOCK))
        whole, halves = self.products.sum(0), [self.products[side::2].sum(0) for side in (0, 1)]
        solved = self.solve(torch.cat([torch.stack([whole, *halves]), whole - self.products[:used]]))
        saliency, one, other = self.paint(solved[:3])
        without = solved[3:]
        error = (
            jackknife.standard_error(self.paint((without - without.mean(0)).float())) if used >= jackknife.LEAST else None
        )
        return Estimate(saliency.float(), error, maps.rank_agreement(one[::4, ::4], other[::4, ::4]) if used > 1 else None)
