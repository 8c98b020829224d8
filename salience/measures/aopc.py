"""AOPC. Samek, Binder, Montavon, Lapuschkin and Müller, Evaluating the Visualization of What a DNN Has Learned, 2017."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import seeding, validate
from salience.errors import SettingError
from salience.measures import _curves
from salience.types import Image

SIDE = 9  # of a region, in pixels


@dataclass(frozen=True)
class Aopc:
    """Destroy the most important places first; the score that is lost on the way, on average.

    AOPC = 1/(L + 1) · Σ_{k = 0..L} [score(image) − score(image without its k most important places)]

    "samek-2017" lays a grid of 9×9 regions, orders them by their mean in the map, and replaces the first L = 100
    (all, where there are fewer) by uniformly random colours; the mean over 10 samples. "scaat" goes pixel by
    pixel in the order of |map|, after SCAAT's evaluation: L = 9 steps of a tenth of the pixels each, replaced by the
    mean colour of the image.

    Range −1 to 1 for a probability. Cost: (L + 1) passes a sample: 1010 and 10.

    Departs: regions that the border cuts take part, and regions are compared by their mean, which orders whole ones as
    their sum does. The number of samples is ours, and so are the steps of "scaat", whose text leaves them open.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Aopc(steps=4)(case).value, 2)
    0.27
    """

    protocol: Annotated[Literal["samek-2017", "scaat"], Doc("what is a place, and what replaces it")] = "samek-2017"
    steps: Annotated[int | None, Doc("L; None: the protocol's")] = None
    samples: Annotated[int | None, Doc('how often the colours are sampled, for "samek-2017"; None: 10')] = None
    seed: Annotated[int, Doc("of the colours")] = 0
    better: ClassVar[Better] = "higher"
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        validate.expect_between("steps", self.steps, 1, None)
        validate.expect_between("samples", self.samples, 1, None)
        if self.protocol == "scaat" and self.samples is not None:
            raise SettingError(f"expected no samples for scaat, which has one colour, got {self.samples}: leave them out")

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        if not bool(torch.isfinite(case.saliency).all()):
            return MeasureResult(float("nan"))
        ranks, counts, fills = self._order_regions(case) if self.protocol == "samek-2017" else self._order_pixels(case)
        scores = torch.stack([_curves.score_curve(case, ranks, counts, each) for each in fills]).mean(0)
        evidence = {"curve": {"x": list(range(len(counts))), "y": scores.tolist()}}
        return MeasureResult(float((scores[0] - scores).mean()), evidence)

    def _order_regions(self, case: Case) -> tuple[Int[Tensor, "h w"], Sequence[int], list[Image]]:
        height, width = case.saliency.shape
        means = functional.avg_pool2d(case.saliency[None, None], SIDE, ceil_mode=True)[0, 0]
        small = _curves.rank(means)
        ranks = small.repeat_interleave(SIDE, 0).repeat_interleave(SIDE, 1)[:height, :width]
        generators = [seeding.generator(self.seed, "aopc", number) for number in range(self.samples or 10)]
        fills = [torch.rand(case.image.shape, generator=each).to(case.image) for each in generators]
        return ranks, range(min(self.steps or 100, small.numel()) + 1), fills

    def _order_pixels(self, case: Case) -> tuple[Int[Tensor, "h w"], Sequence[int], list[Image]]:
        steps, pixels = self.steps or 9, case.saliency.numel()
        counts = [round(number * pixels / (steps + 1)) for number in range(steps + 1)]
        return _curves.rank(case.saliency.abs()), counts, [case.image.mean((1, 2), keepdim=True).expand_as(case.image)]
