"""Multi-scale RISE, our own. After Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation, BMVC 2018."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial, reduce
from typing import Annotated

import torch
from typing_extensions import Doc

from salience.engine import maps, validate
from salience.engine.estimate import moments
from salience.engine.estimate.jackknife import GROUPS, Choice, Groups, estimate_error
from salience.engine.perturb import fill
from salience.engine.perturb.masks import Grids, completes_lot, sample_grids
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.estimates import Estimate
from salience.methods._settings import Fill, Seed
from salience.types import BlackBox, Image, Map, Scores, Target

SCALES = ((4, 0.5, 8), (7, 0.5, 24))  # cells along a side, keep probability, masks a round
ROUND = sum(count for _, _, count in SCALES)
SIDE = 56  # pixels along a side at which masks are folded


@dataclass(frozen=True)
class MultiscaleRise:
    """Show the image through random masks of two sizes; fold each by covariance, add them in one unit, and smooth.

    saliency = blur(Σ_k w_k · S_k / std(S_k)),  S_k[p] = cov(√score, m[p]) over the masks of size k, w_k their share

    The masks are RISE's, a quarter of 4×4 cells and three quarters of 7×7, half of them kept, with cells and shifts from
    scrambled Sobol sequences, so that what is linear in the score is found from half as many. The root steadies scores,
    which are mostly near 0 with a few high ones; a score below 0, of a contrast, keeps its sign. Smoothing gives away
    detail that so few masks cannot resolve. The map is signed and has no unit.

    Departs from RISE: the sizes, the sequence, the covariance in place of the mean, the root and the smoothing are ours.
    The error is the jackknife's over 16 groups; masks of a sequence balance each other across groups, which it does not
    see, so it is too wide rather than too narrow. Cost: N passes.

    >>> from salience.boxes import toy
    >>> saliency = MultiscaleRise(masks=256)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    masks: Annotated[int | None, Doc("N, how many masks; none given: what the budget allows, or 512")] = None
    smooth: Annotated[float, Doc("σ of the smoothing, as a share of the shorter side")] = 0.04
    fill: Fill = "mean"
    seed: Seed = 0

    def __post_init__(self) -> None:
        validate.expect_between("masks", self.masks, ROUND, None)
        validate.expect_between("smooth", self.smooth, 0, 0.5)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running estimate after every eighth round."""
        size = (image.shape[-2], image.shape[-1])
        count = plan_passes(self.masks, default=512, least=ROUND, what="multiscale-rise")
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        small_size = (min(SIDE, size[0]), min(SIDE, size[1]))
        scales = [
            Groups(partial(moments.make_estimator, "centred", small_size, keep, 0), GROUPS, block)
            for _, keep, block in SCALES
        ]
        by_cells = {cells: each for (cells, _, _), each in zip(SCALES, scales, strict=True)}
        done = 0
        lots = sample_lots(count, size, self.seed)
        for lot, masks, scores in loop.score_masked(box, image, target, lots, baseline, least=ROUND):
            by_cells[lot.cells.shape[-1]].add(maps.pool(masks, small_size), find_root(scores))
            done += len(lot)
            if done < count and completes_lot(done, len(lot)):
                yield self.estimate(scales, small_size, size)
        yield self.estimate(scales, small_size, size)

    def estimate(self, scales: list[Groups], small_size: tuple[int, int], size: tuple[int, int]) -> Estimate:
        """Fold all masks so far; the halves are the groups of even and of odd number."""
        sigma, filled = self.smooth * min(small_size), reduce(torch.logical_and, (each.filled for each in scales))

        def fold(chosen: Choice) -> Map:
            each = zip(SCALES, scales, strict=True)
            parts = [share / ROUND * to_unit(groups.merge_groups(chosen).map()) for (_, _, share), groups in each]
            saliency = torch.stack(parts).sum(0).float()
            return fill.blur(saliency.expand(3, -1, -1), sigma)[0] if sigma > 0 else saliency

        error = estimate_error(fold, filled)
        even = torch.arange(GROUPS) % 2 == 0
        halves = [fold(filled & side) for side in (even, ~even)] if int(filled.sum()) > 1 else None
        return Estimate(
            maps.resize(fold(filled), size),
            None if error is None else maps.resize(error, size),
            None if halves is None else maps.rank_agreement(*halves),
        )


def sample_lots(count: int, size: tuple[int, int], seed: int) -> Iterator[Grids]:
    """Sample round after round; the last may be a smaller one."""
    for number in range(-(-count // ROUND)):
        part = min(ROUND, count - number * ROUND) / ROUND
        for cells, keep, share in SCALES:
            begin, end = number * share, number * share + round(share * part)
            yield from sample_grids(end, size, cells, keep, seed, start=begin, design="sobol")


def find_root(scores: Scores) -> Scores:
    """Take the root of each score, keeping its sign."""
    return scores.sign() * scores.abs().sqrt()


def to_unit(saliency: Map) -> Map:
    """Divide by the spread over the pixels; a constant map is 0."""
    spread = saliency.std()
    return saliency / spread if float(spread) > 0 else torch.zeros_like(saliency)
