"""What the perturbation curves share: pixels change in the order of a map, and each stage is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from salience.case import Case, MeasureResult
from salience.engine.perturb import fill
from salience.engine.perturb.masks import MaskStack
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.types import BlackBox, Image, Map, Masks, Scores

Protocol = Literal["rise-2018", "torchcam", "blur-51"]
STEP = {"rise-2018": 224, "torchcam": None, "blur-51": 448}  # pixels; None: a twentieth of them, rounded up

# One axis of RISE's 11×11 kernel: a unit impulse under a Gaussian (σ = 5) whose window exceeds the array and is
# mirrored at its borders. It sums to 1 and is nearly flat; it is not a truncated Gaussian.
_AXIS = (0.08796, 0.08890, 0.09047, 0.09219, 0.09349, 0.09398, 0.09349, 0.09219, 0.09047, 0.08890, 0.08796)


@dataclass(frozen=True)
class OrderedMasks(MaskStack):
    """Masks that hide the first pixels of an order, or show only those; they are stored as counts."""

    counts: Int[Tensor, " n"]
    ranks: Int[Tensor, "n h w"]  # one map of ranks, expanded n times
    insert: bool

    def rasterise(self, like: Tensor) -> Masks:
        """Compare the ranks with the counts."""
        counts = self.counts[:, None, None]
        return (self.ranks < counts if self.insert else self.ranks >= counts).to(like)


def rank(saliency: Map) -> Int[Tensor, "h w"]:
    """Rank the pixels from the highest to the lowest; equal ones in reading order."""
    order = torch.argsort(saliency.flatten(), descending=True, stable=True)
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return ranks.reshape(saliency.shape)


def score_curve(
    case: Case, ranks: Int[Tensor, "h w"], counts: Sequence[int], baseline: Image, *, insert: bool = False
) -> Scores:
    """Score the image after each count of changed pixels, in double precision; BudgetError where not all are allowed."""
    stages, device = len(counts), case.box.device
    plan_passes(stages, stages, stages, "a curve")
    thresholds = torch.tensor(counts, dtype=torch.int32, device=device)
    lot = OrderedMasks(thresholds, ranks.to(device).expand(stages, -1, -1), insert)
    parts = loop.score_masked(case.box, case.image, case.target, [lot], baseline, least=stages)
    return torch.cat([scores.double().cpu() for _, _, scores in parts])


def measure_area(case: Case, protocol: Protocol, step: int | None, *, insert: bool) -> MeasureResult:
    """Delete the image's pixels in the order of the map, or insert them, and return the area under the score."""
    if not bool(torch.isfinite(case.saliency).all()):
        return MeasureResult(float("nan"))
    pixels = case.saliency.numel()
    step_size = step or STEP[protocol] or -(-pixels // 20)
    counts = [*range(0, pixels, step_size), pixels]
    baseline = make_start(protocol, case.image, case.box) if insert else fill.make_fill("mean", case.box, case.image)
    scores = score_curve(case, rank(case.saliency), counts, baseline, insert=insert)
    evenly = torch.linspace(0, 1, len(counts), dtype=torch.float64)  # RISE's code gives a last, shorter step as much
    x = torch.tensor(counts, dtype=torch.float64) / pixels if protocol == "torchcam" else evenly
    return MeasureResult(float(torch.trapezoid(scores, x)), {"curve": {"x": x.tolist(), "y": scores.tolist()}})


def make_start(protocol: Protocol, image: Image, box: BlackBox) -> Image:
    """Make the image that insertion begins with."""
    mean_colour = fill.make_fill("mean", box, image)
    if protocol == "torchcam":
        return mean_colour
    if protocol == "rise-2018":
        return smooth(image - mean_colour, make_kernel(), "constant") + mean_colour
    if min(image.shape[-2:]) < 26:
        side = min(image.shape[-2:])
        raise SettingError(f"expected an image of 26 pixels a side or more for blur-51, got {side}: take rise-2018")
    offsets = torch.arange(-25, 26, dtype=torch.float64)
    return smooth(image, torch.softmax(-(offsets**2) / (2 * 50**2), 0), "reflect")


def smooth(image: Image, axis: Float[Tensor, " k"], border: Literal["constant", "reflect"]) -> Image:
    """Convolve along both axes; beyond the border is zero, or the image mirrored."""
    kernel, radius = axis.to(image), len(axis) // 2
    padded = functional.pad(image[:, None], (radius,) * 4, mode=border)
    return functional.conv2d(functional.conv2d(padded, kernel.reshape(1, 1, -1, 1)), kernel.reshape(1, 1, 1, -1))[:, 0]


@cache
def make_kernel() -> Float[Tensor, " 11"]:
    """Make one axis of RISE's kernel, summing to 1."""
    axis = torch.tensor(_AXIS, dtype=torch.float64)
    return axis / axis.sum()
