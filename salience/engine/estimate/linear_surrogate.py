"""Linear surrogates: regress the score on which regions of the image are visible; no mask is kept.

The errors come from leaving out one of 32 groups of masks at a time (the delete-a-group jackknife, Shao and Wu 1989):
they hold whatever the noise of a score depends on, for paired masks too, and are too wide rather than too narrow where
masks are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from salience.engine import maps
from salience.engine.estimate.jackknife import standard_error
from salience.engine.perturb.masks import MaskStack
from salience.engine.perturb.superpixels import segment
from salience.estimates import Estimate
from salience.types import Image, Map, Masks

GROUPS = 32


class Segmentation:
    """The regions of an image; its name is a hash of them, for scores are cached by what a mask shows.

    >>> from salience.boxes import toy
    >>> segmentation = Segmentation(toy.picture(), count=16, seed=0)
    >>> segmentation.paint(torch.arange(float(segmentation.count))).shape
    torch.Size([32, 32])
    """

    def __init__(self, image: Image, count: int, seed: int) -> None:
        self.labels = segment(image, count, seed)
        self.count = int(self.labels.max()) + 1
        self.name = blake2b(self.labels.numpy().tobytes(), digest_size=16).hexdigest()

    def __repr__(self) -> str:
        return f"<segmentation {self.name}>"

    def paint(self, values: Float[Tensor, " d"]) -> Map:
        """Set every pixel to the value of its region."""
        return values[self.labels]


@dataclass(frozen=True)
class RegionMasks(MaskStack):
    """Masks that show some regions and hide the others: one bit a region.

    >>> from salience.boxes import toy
    >>> segmentation = Segmentation(toy.picture(), count=16, seed=0)
    >>> RegionMasks(torch.ones(2, segmentation.count) > 0, segmentation).rasterise(toy.picture()).shape
    torch.Size([2, 32, 32])
    """

    bits: Bool[Tensor, "n d"]
    segmentation: Segmentation

    def rasterise(self, like: Tensor) -> Masks:
        """Set every pixel to the bit of its region."""
        labels = self.segmentation.labels.to(like.device)
        flat = self.bits.to(like).index_select(1, labels.flatten())  # quicker than an index
        return flat.view(len(flat), *labels.shape)


class RidgeRegression:
    """Weighted ridge regression, a row a mask: minimises Σ w (y − b − x · β)² + penalty · |β|², by running sums alone.

    Rows go to groups by their number, two by two, so that pairs stay together. With `intercept=False`, b is 0.

    >>> regression = RidgeRegression(2, penalty=0.0, intercept=True)
    >>> regression.add(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([1.0, 2, 4, 5]), torch.ones(4))
    >>> regression.solve(regression.products.sum(0, keepdim=True)).round(decimals=6)  # y = 1 + 3 a + b
    tensor([[3., 1.]], dtype=torch.float64)
    """

    def __init__(self, dimensions: int, penalty: float, *, intercept: bool) -> None:
        self.penalty, self.intercept, self.count = penalty, intercept, 0
        side = dimensions + 2
        self.products = torch.zeros(GROUPS, side, side, dtype=torch.float64)  # Σ w r rᵀ, where r is 1, x, y

    def add(self, x: Tensor, y: Float[Tensor, " n"], weights: Float[Tensor, " n"]) -> None:
        """Add a batch."""
        exact = x.double().cpu()
        rows = torch.cat([torch.ones_like(exact[:, :1]), exact, y.double().cpu()[:, None]], dim=1)
        group = (self.count + torch.arange(len(rows))) // 2 % GROUPS
        for number in group.unique().tolist():
            chosen = group == number
            self.products[number] += (weights[chosen, None] * rows[chosen]).T @ rows[chosen]
        self.count += len(rows)

    def solve(self, products: Float[Tensor, "g r r"]) -> Float[Tensor, "g d"]:
        """Return β, the shortest of several that fit equally well."""
        if self.intercept:
            first = products[:, :1]
            products = products - first.mT @ first / products[:, :1, :1].clamp(min=1e-300)
        xx, xy = products[:, 1:-1, 1:-1], products[:, 1:-1, -1:]
        penalised = xx + self.penalty * torch.eye(xx.shape[-1], dtype=xx.dtype)
        solved: Tensor = torch.linalg.pinv(penalised, rtol=1e-10, hermitian=True) @ xy
        return solved[..., 0]

    def estimate(self, segmentation: Segmentation, offset: float = 0.0) -> Estimate:
        """Fold all masks so far into a map of β + offset. Stability compares every fourth pixel of the halves' maps."""
        whole, used = self.products.sum(0), max(1, min(GROUPS, (self.count + 1) // 2))
        halves = torch.stack([self.products[0::2].sum(0), self.products[1::2].sum(0)])
        solved = self.solve(torch.cat([whole[None], halves, whole - self.products[:used]]))
        values, one, other, without = solved[0] + offset, solved[1], solved[2], solved[3:]
        error = standard_error(without)
        stability = maps.rank_agreement(*(segmentation.paint(each)[::4, ::4] for each in (one, other)))
        evidence = {"regions": segmentation.labels, "values": values.float()}
        return Estimate(segmentation.paint(values).float(), segmentation.paint(error).float(), stability, evidence)
