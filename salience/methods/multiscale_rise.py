"""Multi-scale RISE, our own. After Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation, BMVC 2018."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from salience.engine import fill, maps, masks, probe
from salience.engine.covariance import Choice, Covariance, jackknife
from salience.types import BlackBox, Found, Image, Map, Scores, Target

SCALES = ((4, 0.5, 6), (7, 0.5, 19))  # cells along a side, keep probability, masks a round
ROUND = sum(count for _, _, count in SCALES)
GROUPS, SIDE = 16, 56  # groups for the error; pixels along a side at which masks are kept


@dataclass(frozen=True)
class MultiscaleRise:
    """Show the image through random masks of two sizes; fold each by covariance, add them in one unit, and smooth.

    saliency = blur(Σ_k w_k · S_k / std(S_k)),  S_k[p] = cov(√score, m[p]) over the masks of size k, w_k their share

    The masks are RISE's, a quarter of 4×4 cells and three quarters of 7×7, half of them kept. The root steadies scores,
    which are mostly near 0 with a few high ones; a score below 0, of a contrast, keeps its sign. Smoothing gives away
    detail that so few masks cannot resolve. The map is signed and has no unit.

    Departs from RISE: the sizes, the covariance in place of the mean, the root and the smoothing are ours. The error is
    the jackknife's over 16 groups of masks. Cost: N passes.
    """

    masks: int | None = None  # N, how many masks; none given: what the budget allows, or 500
    smooth: float = 0.08  # σ of the smoothing, as a share of the shorter side
    fill: str = "mean"  # what hidden pixels show: mean, black, white, grey, blur, noise or 0…1
    seed: int = 0  # the same seed gives the same masks

    def __post_init__(self) -> None:
        probe.expect_between("masks", self.masks, ROUND, None)
        probe.expect_between("smooth", self.smooth, 0, 0.5)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return probe.last(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Found]:
        """Yield the running estimate after every hundred masks."""
        size = (image.shape[-2], image.shape[-1])
        count = probe.plan(self.masks, default=500, least=ROUND, what="multiscale-rise")
        behind = fill.of(self.fill, box, image, self.seed)
        kept = (min(SIDE, size[0]), min(SIDE, size[1]))
        scales = [Covariance(GROUPS, kept) for _ in SCALES]
        rounds = -(-count // ROUND)
        for number in range(rounds):
            part = min(ROUND, count - number * ROUND) / ROUND  # the last round may be a smaller one
            for (cells, keep, many), seen in zip(SCALES, scales, strict=True):
                begin = number * many
                lots = masks.grids(begin + round(many * part), size, cells, keep, self.seed, start=begin)
                for _, drawn, scores in probe.each(box, image, target, lots, behind, least=many if number == 0 else 0):
                    seen.add(number % GROUPS, drawn, root(scores))
            if number % 4 == 3 or number == rounds - 1:
                yield self.found(scales, size)

    def found(self, scales: list[Covariance], size: tuple[int, int]) -> Found:
        """Fold what has been seen; the halves are the groups of even and of odd number."""
        sigma = self.smooth * min(scales[0].size)

        def fold(chosen: Choice) -> Map:
            parts = [many / ROUND * unit(seen.fold(chosen)) for (_, _, many), seen in zip(SCALES, scales, strict=True)]
            whole = torch.stack(parts).sum(0)
            return fill.blur(whole.float().expand(3, -1, -1), sigma)[0] if sigma > 0 else whole.float()

        filled = scales[0].plain[:, 0] > 0
        saliency, error = jackknife(fold, filled)
        even = torch.arange(GROUPS) % 2 == 0
        halves = [fold(filled & side) for side in (even, ~even)] if bool((filled & ~even).any()) else None
        return Found(
            maps.resize(saliency, size),
            None if error is None else maps.resize(error, size),
            None if halves is None else maps.agreement(*halves),
        )


def root(scores: Scores) -> Scores:
    """Take the root of each score, keeping its sign."""
    return scores.sign() * scores.abs().sqrt()


def unit(saliency: Map) -> Map:
    """Divide by the spread over the pixels; a constant map is 0."""
    spread = saliency.std()
    return saliency / spread if float(spread) > 0 else torch.zeros_like(saliency)
