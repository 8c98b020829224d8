"""Pointing game. Zhang, Lin, Brandt, Shen and Sclaroff, Top-down neural attention by excitation backprop, ECCV 2016."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need

TOLERANCE = {"torchray": 15, "strict": 0}


@dataclass(frozen=True)
class PointingGame:
    """Say whether the map's highest point lies on the object: 1 or 0; the mean over pictures is the hit rate.

    hit = [min over the object's pixels p of |p − argmax(map)| < tolerance]

    "torchray" allows 15 pixels, as TorchRay's benchmark does; "strict" none. Several highest pixels stand for their
    centroid. Always read it beside the centre baseline: objects lie in the middle of photographs.

    Range 0 or 1. Cost: no pass.

    >>> from salience.boxes import toy
    >>> image = toy.picture()  # a red patch on grey; the red channel is the map
    >>> case = Case(toy.load("colour"), image, 0, image[0], truth=image[0] > 0.5)
    >>> round(PointingGame()(case).value, 2)
    1.0
    """

    protocol: Annotated[Literal["torchray", "strict"], Doc("how far beside the object still counts")] = "torchray"
    better: ClassVar[Better] = "higher"
    needs: ClassVar[tuple[Need, ...]] = ("truth",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        tolerance = TOLERANCE[self.protocol]
        top = torch.nonzero(case.saliency == case.saliency.max()).double().mean(0)
        inside = torch.nonzero(case.place).double()
        if len(inside) == 0:
            return MeasureResult(float("nan"))
        nearest = float((inside - top).norm(dim=1).min())
        return MeasureResult(float(nearest < max(1, tolerance)), {"point": top.tolist(), "distance": nearest})
