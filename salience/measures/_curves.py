"""Deletion and insertion. Petsiuk, Das and Saenko, RISE, BMVC 2018, as its public code computes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.engine import masks, probe
from salience.types import BlackBox, Image, Map, Scores, Target

# One axis of the code's 11×11 kernel: a unit impulse under a Gaussian (σ = 5) whose window exceeds the array and is
# mirrored at its borders. It sums to 1 and is nearly flat; it is not a truncated Gaussian.
_AXIS = (0.08796, 0.08890, 0.09047, 0.09219, 0.09349, 0.09398, 0.09349, 0.09219, 0.09047, 0.08890, 0.08796)


@dataclass(frozen=True)
class Curve:
    """The score at each step and the area under it; x runs from 0 to 1."""

    scores: Scores
    area: float
    protocol: str


def curve(
    kind: Literal["deletion", "insertion"], box: BlackBox, image: Image, target: Target, saliency: Map, step: int = 224
) -> Curve:
    """Delete the most important pixels first, toward the mean colour, or insert them into a blurred image.

    Pixels go `step` at a time, all channels together, by a stable descending sort. The area is the trapezoid's.
    Deletion: lower is better. Insertion: higher is better. Cost: ceil(h·w / step) + 1 passes.
    """
    height, width = saliency.shape
    order = torch.argsort(saliency.flatten(), descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    mean = image.new_tensor(box.mean)[:, None, None].expand_as(image)
    behind = mean if kind == "deletion" else blurred(image, box)
    steps = -(-height * width // step)
    lots = _steps(rank.reshape(height, width), steps, step, insert=kind == "insertion")
    scores = torch.cat([part.float().cpu() for _, _, part in probe.each(box, image, target, lots, behind)])
    area = float((scores.double().sum() - (scores[0] + scores[-1]).double() / 2) / steps)
    return Curve(scores, area, f"{kind}/rise-2018, {step} pixels a step")


def blurred(image: Image, box: BlackBox) -> Image:
    """Blur as RISE's code does: zero padding in normalised space, which is the mean colour."""
    mean = image.new_tensor(box.mean)[:, None, None]
    axis = kernel().to(image)
    weight = (axis[:, None] * axis[None, :])[None, None]
    return functional.conv2d((image - mean)[:, None], weight, padding=5)[:, 0] + mean


@cache
def kernel() -> Float[Tensor, " 11"]:
    """Return one axis of the kernel, summing to 1."""
    axis = torch.tensor(_AXIS, dtype=torch.float64)
    return axis / axis.sum()


def _steps(rank: Tensor, steps: int, step: int, *, insert: bool) -> Iterator[masks.Drawn]:
    for begin in range(0, steps + 1, 32):
        shown = torch.arange(begin, min(begin + 32, steps + 1), device=rank.device)[:, None, None] * step
        changed = rank < shown
        yield masks.Drawn((changed if insert else ~changed).float())
