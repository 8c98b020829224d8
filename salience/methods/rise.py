"""RISE. Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from salience.engine import designs, estimate, every, fill, groups, masks, probe
from salience.errors import SettingError
from salience.types import BlackBox, Found, Image, Map, Probabilities, Scores, Target


@dataclass(frozen=True)
class Rise:
    """Show the image through many random masks; a pixel matters as much as the score when it is seen.

    saliency[p] = (1 / (N · keep)) · Σ_i score(image ⊙ m_i) · m_i[p]

    Masks are grids of cells, each kept with probability `keep`, enlarged bilinearly and shifted at random. The paper
    uses N = 4000 for VGG-16 and 8000 for ResNet-50. Cost: N passes.

    Departs from the paper: in nothing, with `estimator="mean"`. The others (see `engine.estimate`) rank pixels
    more steadily at equal cost; the designs (see `engine.designs`) change no expectation.
    """

    masks: int | None = None  # N, how many masks; none given: what the budget allows, or 4000
    cells: int = 7  # s, cells along each side of the grid
    keep: float = 0.5  # p, the probability that a cell is kept
    estimator: estimate.Name = "mean"  # how masks and scores are folded: mean, normalised, centred or ridge
    design: designs.Design = "independent"  # how masks hang together: independent, antithetic, stratified or sobol
    fill: str = "mean"  # what hidden pixels show: mean, black, white, grey, blur, noise or 0…1
    seed: int = 0  # the same seed gives the same masks

    def __post_init__(self) -> None:
        probe.expect_between("masks", self.masks, 1, None)
        probe.expect_between("cells", self.cells, 1, None)
        probe.expect_between("keep", self.keep, 0, 1, open_ends=True)
        designs.expected(self.design, self.keep)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return probe.last(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Found]:
        """Yield the running estimate after each lot of masks."""
        size = (image.shape[-2], image.shape[-1])
        count = probe.plan(self.masks, default=4000, least=2, what="rise")
        lots = masks.grids(count, size, self.cells, self.keep, self.seed, design=self.design)
        behind = fill.of(self.fill, box, image, self.seed)
        seen = groups.grouped(self.estimator, size, self.keep, 2 * self.cells, self.design)
        for part, drawn, scores in probe.each(box, image, target, lots, behind, least=2):
            seen.add(drawn, scores)
            if seen.count // masks.LOT > (seen.count - len(part)) // masks.LOT:
                yield seen.found()
        yield seen.found()

    def every(self, box: BlackBox, image: Image) -> Float[Tensor, "k h w"]:
        """Explain all classes at once, at the passes of one: Σ_i scores_i ⊗ m_i is a matrix product a batch.

        Map k is that of `self(box, image, k)`. Memory: 4 bytes a pixel and class, 200 MB for 1,000 classes at 224 × 224.
        """
        if self.estimator == "ridge":
            raise SettingError("expected estimator mean, normalised or centred for all classes, got 'ridge': name one")
        size, kept = (image.shape[-2], image.shape[-1]), list[Tensor]()

        def noted(rows: Probabilities) -> Scores:
            kept.append(rows)
            return rows[:, 0]

        count = probe.plan(self.masks, default=4000, least=2, what="rise")
        lots = masks.grids(count, size, self.cells, self.keep, self.seed, design=self.design)
        seen = every.Every(self.estimator, size, self.keep)
        for _, drawn, _ in probe.each(box, image, noted, lots, fill.of(self.fill, box, image, self.seed), least=2):
            seen.add(drawn, kept.pop())
        return seen.fold()
