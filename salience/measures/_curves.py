"""What the curves of perturbation share: pixels change in the order of a map, and the score is read on the way."""

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
class Ordered:
    """Masks that hide the first pixels of an order, or show only those; they travel as counts."""

    counts: Int[Tensor, " n"]
    ranks: Int[Tensor, "n h w"]  # one map of ranks, seen n times
    insert: bool

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, part: slice) -> Ordered:
        return Ordered(self.counts[part], self.ranks[part], self.insert)

    def rasterise(self, like: Tensor) -> Masks:
        """Compare the ranks with the counts."""
        counts = self.counts[:, None, None]
        return (self.ranks < counts if self.insert else self.ranks >= counts).to(like)


def rank(saliency: Map) -> Int[Tensor, "h w"]:
    """Count the pixels from the highest to the lowest; equal ones in reading order."""
    order = torch.argsort(saliency.flatten(), descending=True, stable=True)
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return ranks.reshape(saliency.shape)


def curve(case: Case, ranks: Int[Tensor, "h w"], counts: Sequence[int], behind: Image, *, insert: bool = False) -> Scores:
    """Score the image after each count of changes, in double precision; BudgetError where not all can be asked."""
    many, device = len(counts), case.box.device
    plan_passes(many, many, many, "a curve")
    lot = Ordered(torch.tensor(counts, dtype=torch.int32, device=device), ranks.to(device).expand(many, -1, -1), insert)
    asked = loop.score_masked(case.box, case.image, case.target, [lot], behind, least=many)
    return torch.cat([scores.double().cpu() for _, _, scores in asked])


def walk(case: Case, protocol: Protocol, step: int | None, *, insert: bool) -> MeasureResult:
    """Delete the image's pixels in the order of the map, or insert them, and return the area under the score."""
    if not bool(torch.isfinite(case.saliency).all()):
        return MeasureResult(float("nan"))
    pixels = case.saliency.numel()
    wide = step or STEP[protocol] or -(-pixels // 20)
    counts = [*range(0, pixels, wide), pixels]
    behind = start(protocol, case.image, case.box) if insert else fill.make_fill("mean", case.box, case.image)
    scores = curve(case, rank(case.saliency), counts, behind, insert=insert)
    even = torch.linspace(0, 1, len(counts), dtype=torch.float64)  # RISE's code gives a last, shorter step as much
    x = torch.tensor(counts, dtype=torch.float64) / pixels if protocol == "torchcam" else even
    return MeasureResult(float(torch.trapezoid(scores, x)), {"curve": {"x": x.tolist(), "y": scores.tolist()}})


def start(protocol: Protocol, image: Image, box: BlackBox) -> Image:
    """Return the image that insertion begins with."""
    middle = fill.make_fill("mean", box, image)
    if protocol == "torchcam":
        return middle
    if protocol == "rise-2018":
        return smooth(image - middle, kernel(), "constant") + middle
    if min(image.shape[-2:]) < 26:
        side = min(image.shape[-2:])
        raise SettingError(f"expected an image of 26 pixels a side or more for blur-51, got {side}: take rise-2018")
    line = torch.arange(-25, 26, dtype=torch.float64)
    return smooth(image, torch.softmax(-(line**2) / (2 * 50**2), 0), "reflect")


def smooth(image: Image, axis: Float[Tensor, " k"], border: Literal["constant", "reflect"]) -> Image:
    """Convolve along both axes; beyond the border is zero, or the image mirrored."""
    ready, wide = axis.to(image), len(axis) // 2
    padded = functional.pad(image[:, None], (wide,) * 4, mode=border)
    return functional.conv2d(functional.conv2d(padded, ready.reshape(1, 1, -1, 1)), ready.reshape(1, 1, 1, -1))[:, 0]


@cache
def kernel() -> Float[Tensor, " 11"]:
    """Return one axis of RISE's kernel, summing to 1."""
    axis = torch.tensor(_AXIS, dtype=torch.float64)
    return axis / axis.sum()
