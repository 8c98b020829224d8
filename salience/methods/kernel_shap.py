"""KernelSHAP. Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017.

Paired masks: Covert and Lee, Improving KernelSHAP: Practical Shapley Value Estimation via Linear Regression, AISTATS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
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

PASSES = 2048  # where neither a setting nor a budget says how many


@dataclass(frozen=True)
class KernelShap:
    """Distribute the score over the image's regions by their Shapley values: what each adds, averaged over all orders.

    saliency[p] = φ_j for p in region j, where φ = argmin Σ_z π(z) (score(z) − score(0) − z · φ)², Σ φ = score(1) − score(0)
    π(z) ∝ 1 / (C(d, |z|) · |z| · (d − |z|)), over all choices z of some of d regions

    score(0) shows the fill alone. Where all 2^d choices fit the passes, each is scored once and φ is exact. Else choices
    are sampled from π: their number |z| first, then which, each followed by its complement. The shares sum to
    score(1) − score(0) in any case. The error is a jackknife over 32 groups of masks. Cost: one pass a mask.

    What is known: both papers' formulas. Nothing is reconstruction but the error.

    Departs from the papers: where choices are sampled, ridge · |φ − equal shares|² is added to the sum over the N masks.
    Without it, as many pairs as regions give wild values; with it the pull towards equal shares fades as 1 / N.

    >>> from salience.boxes import toy
    >>> saliency = KernelShap(masks=256, regions=16)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    masks: Annotated[int | None, Doc("how many images are shown; none given: what the budget allows, or 2048")] = None
    regions: Regions = 50
    paired: Annotated[bool, Doc("follow each choice with its complement; without, as in 2017")] = True
    ridge: Annotated[float, Doc("weight of the pull towards equal shares while masks are few; 0 is the papers'")] = 1.0
    fill: Fill = "mean"
    seed: SeedOfRegions = 0

    def __post_init__(self) -> None:
        validate.expect_between("masks", self.masks, 6, None)
        validate.expect_between("regions", self.regions, 2, None)
        validate.expect_between("ridge", self.ridge, 0, None)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running estimate after each lot of masks."""
        count = plan_passes(self.masks, default=PASSES, least=6, what="kernel-shap")
        segmentation = Segmentation(image, self.regions, self.seed)
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        ends = RegionMasks(torch.tensor([[False], [True]]).expand(2, segmentation.count), segmentation)
        empty, full = torch.cat(
            [y.double().cpu() for _, _, y in loop.score_masked(box, image, target, [ends], baseline, least=2)]
        )
        share = float(full - empty) / segmentation.count
        exhaustive = 2**segmentation.count <= (PASSES if count == 2**31 else count)  # seconds alone allow 2³¹
        regression = RidgeRegression(segmentation.count, 0.0 if exhaustive else self.ridge, intercept=False)
        lots = enumerate_choices(segmentation) if exhaustive else self.sample_lots(segmentation, (count - 2) // 2 * 2)
        for part, _, scores in loop.score_masked(box, image, target, lots, baseline, least=4):
            size = part.bits.double().sum(1)
            x = part.bits.double() - size[:, None] / segmentation.count  # what equal shares leave to explain
            weights = compute_weights(size, segmentation.count) if exhaustive else torch.ones_like(size)
            regression.add(x, scores.double().cpu() - empty - share * size, weights)
            if masks.completes_lot(regression.count, len(part)):
                yield regression.estimate(segmentation, share)
        estimate = regression.estimate(segmentation, share)
        complete = exhaustive and regression.count == 2**segmentation.count - 2
        yield replace(estimate, error=torch.zeros_like(estimate.saliency), stability=1.0) if complete else estimate

    def sample_lots(self, segmentation: Segmentation, count: int) -> Iterator[RegionMasks]:
        """Sample choices, lot by lot."""
        sizes = torch.arange(1, segmentation.count)
        odds = 1 / (sizes * (segmentation.count - sizes))  # of a number of regions: π times how many choices have it
        for number in range(math.ceil(count / masks.LOT)):
            generator = seeding.generator(self.seed, "kernel-shap", segmentation.count, self.paired, number)
            sampled = masks.LOT // 2 if self.paired else masks.LOT
            size = sizes[torch.multinomial(odds, sampled, replacement=True, generator=generator)]
            place = torch.rand(sampled, segmentation.count, generator=generator).argsort(1)
            bits = place < size[:, None]
            if self.paired:
                bits = torch.stack([bits, ~bits], dim=1).flatten(0, 1)
            yield RegionMasks(bits[: count - number * masks.LOT], segmentation)


def enumerate_choices(segmentation: Segmentation) -> Iterator[RegionMasks]:
    """Enumerate all choices but none and all, in an order that is fair to each region if time ends early."""
    total = 2**segmentation.count
    step = int(total * 0.618) | 1  # odd, so that every number comes once
    for begin in range(0, total, masks.LOT):
        numbers = torch.arange(begin, min(begin + masks.LOT, total)) * step % total
        bits = (numbers[:, None] >> torch.arange(segmentation.count)) % 2 == 1
        some = bits.any(1) & ~bits.all(1)
        yield RegionMasks(bits[some], segmentation)


def compute_weights(size: Float[Tensor, " n"], regions: int) -> Float[Tensor, " n"]:
    """Weigh choices of so many regions by the Shapley kernel."""
    ways = torch.tensor([math.comb(regions, int(each)) for each in size], dtype=torch.float64)
    return 1 / (ways * size * (regions - size))
