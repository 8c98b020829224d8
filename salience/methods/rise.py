"""RISE. Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience.engine import validate
from salience.engine.estimate import all_classes, jackknife, moments
from salience.engine.perturb import designs, fill
from salience.engine.perturb.masks import completes_lot, sample_grids
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import Estimate
from salience.methods._settings import Fill, Seed
from salience.types import BlackBox, Image, Map, Probabilities, Scores, Target


@dataclass(frozen=True)
class Rise:
    """Show the image through many random masks; a pixel matters as much as the score when it is seen.

    saliency[p] = (1 / (N · keep)) · Σ_i score(image ⊙ m_i) · m_i[p]

    Masks are grids of cells, each kept with probability `keep`, enlarged bilinearly and shifted at random. The paper
    uses N = 4000 for VGG-16 and 8000 for ResNet-50. Cost: N passes.

    Departs from the paper: in nothing, with `estimator="mean"`. The others (see `engine.estimate`) have a
    smaller error at equal cost; the designs (see `perturb.designs`) change no expectation.

    >>> from salience.boxes import toy
    >>> saliency = Rise(masks=600)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    masks: Annotated[int | None, Doc("N, how many masks; none given: what the budget allows, or 4000")] = None
    cells: Annotated[int, Doc("s, cells along each side of the grid")] = 7
    keep: Annotated[float, Doc("p, the probability that a cell is kept")] = 0.5
    estimator: Annotated[moments.Name, Doc("how masks and scores are folded: mean, normalised, centred or ridge")] = "mean"
    design: Annotated[designs.Design, Doc("how masks are sampled: independent, antithetic, stratified or sobol")] = (
        "independent"
    )
    fill: Fill = "mean"
    seed: Seed = 0

    def __post_init__(self) -> None:
        validate.expect_between("masks", self.masks, 1, None)
        validate.expect_between("cells", self.cells, 1, None)
        validate.expect_between("keep", self.keep, 0, 1, open_ends=True)
        designs.expect_design(self.design, self.keep)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running estimate after each lot of masks."""
        size = (image.shape[-2], image.shape[-1])
        count = plan_passes(self.masks, default=4000, least=2, what="rise")
        lots = sample_grids(count, size, self.cells, self.keep, self.seed, design=self.design)
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        estimator = jackknife.group_estimators(self.estimator, size, self.keep, 2 * self.cells, self.design)
        for lot, masks, scores in loop.score_masked(box, image, target, lots, baseline, least=2):
            estimator.add(masks, scores)
            if completes_lot(estimator.count, len(lot)):
                yield estimator.estimate()
        yield estimator.estimate()

    def explain_all(self, box: BlackBox, image: Image) -> Float[Tensor, "k h w"]:
        """Explain all classes at once, at the passes of one: Σ_i scores_i ⊗ m_i is a matrix product a batch.

        Map k is that of `self(box, image, k)`. Memory: 4 bytes a pixel and class, 200 MB for 1,000 classes at 224 × 224.
        """
        if self.estimator == "ridge":
            raise SettingError("expected estimator mean, normalised or centred for all classes, got 'ridge': name one")
        size, rows = (image.shape[-2], image.shape[-1]), list[Tensor]()

        def record(probabilities: Probabilities) -> Scores:
            rows.append(probabilities)
            return probabilities[:, 0]

        count = plan_passes(self.masks, default=4000, least=2, what="rise")
        lots = sample_grids(count, size, self.cells, self.keep, self.seed, design=self.design)
        estimator = all_classes.AllClasses(self.estimator, size, self.keep)
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        for _, masks, _ in loop.score_masked(box, image, record, lots, baseline, least=2):
            estimator.add(masks, rows.pop())
        return estimator.fold()
