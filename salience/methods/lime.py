"""LIME. Ribeiro, Singh and Guestrin, "Why Should I Trust You?" Explaining the Predictions of Any Classifier, KDD 2016."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import Doc

from salience.engine import seeding, validate
from salience.engine.estimate.linear_surrogate import RegionMasks, RidgeRegression, Segmentation
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.estimates import Estimate
from salience.methods._settings import Fill, Regions, SeedOfRegions
from salience.types import BlackBox, Image, Map, Target


@dataclass(frozen=True)
class Lime:
    """Hide half of the image's regions at random, many times; a region matters as much as a linear model of the score says.

    saliency[p] = β_j for p in region j, where b, β = argmin Σ_z π(z) (score(z) − b − z · β)² + ridge · |β|²
    π(z) = exp(−D² / (2 width²)), D = 1 − √(|z| / d): the cosine distance of the bits z to the whole image

    z has a bit for each of d regions, 1 with probability 1/2; the first z is the whole image. The error is a jackknife
    over 32 groups of masks. Cost: one pass a mask.

    What is known: paper and formula. The paper leaves the images' D and width open; cosine distance, width 0.25, the
    2 under the width, ridge 1, 1,000 masks and the whole image first are the authors' package's, read and not copied.

    Departs from both: regions come from SLIC, not quickshift, and hidden ones show the fill (grey in the paper, each
    region's own mean in the package). From the paper: all regions stay in the model, as in the package by default,
    where the paper lets the lasso choose K of them.

    >>> from salience.boxes import toy
    >>> saliency = Lime(masks=256, regions=16)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    masks: Annotated[int | None, Doc("how many masks; none given: what the budget allows, or 1000")] = None
    regions: Regions = 50
    width: Annotated[float, Doc("σ of the kernel: the smaller, the more count masks that hide little")] = 0.25
    ridge: Annotated[float, Doc("weight of the penalty that keeps the coefficients small")] = 1.0
    fill: Fill = "mean"
    seed: SeedOfRegions = 0

    def __post_init__(self) -> None:
        validate.expect_between("masks", self.masks, 4, None)
        validate.expect_between("regions", self.regions, 2, None)
        validate.expect_between("width", self.width, 0, None, open_ends=True)
        validate.expect_between("ridge", self.ridge, 0, None)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running estimate after each lot of masks."""
        count = plan_passes(self.masks, default=1000, least=4, what="lime")
        segmentation = Segmentation(image, self.regions, self.seed)
        regression = RidgeRegression(segmentation.count, self.ridge, intercept=True)
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        lots = self.sample_lots(segmentation, count)
        for part, _, scores in loop.score_masked(box, image, target, lots, baseline, least=4):
            regression.add(part.bits, scores, self.compute_weights(part.bits))
            if masks.completes_lot(regression.count, len(part)):
                yield regression.estimate(segmentation)
        yield regression.estimate(segmentation)

    def sample_lots(self, segmentation: Segmentation, count: int) -> Iterator[RegionMasks]:
        """Sample the masks, lot by lot."""
        for number in range(math.ceil(count / masks.LOT)):
            generator = seeding.generator(self.seed, "lime", segmentation.count, number)
            bits = torch.rand(masks.LOT, segmentation.count, generator=generator) < 0.5
            if number == 0:
                bits[0] = True
            yield RegionMasks(bits[: count - number * masks.LOT], segmentation)

    def compute_weights(self, bits: Bool[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Weigh masks by their similarity to the whole image."""
        return torch.exp(-((1 - bits.double().mean(1).sqrt()) ** 2) / (2 * self.width**2))
