"""Max-sensitivity. Yeh, Hsieh, Suggala, Inouye and Ravikumar, On the (In)fidelity and Sensitivity …, NeurIPS 2019."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import seeding, similarity, validate


@dataclass(frozen=True)
class MaxSensitivity:
    """Move every pixel by very little and take the largest change of the map.

    sensitivity = max over x' with |x' − x|∞ ≤ r of ‖S(x') − S(x)‖₂ / ‖S(x)‖₂

    "relative" is this over 10 images x' sampled uniformly from the ball of r = 0.02, as Captum takes them. "absolute"
    leaves out the division, as the paper's definition does; it depends on the scale of the map, so compare only maps
    of one method and one box with it. Pixels are 0…1 and may leave that range. Captum's r is in the units of what the
    network sees: there the same ball is r / std wide.

    "relative" is not defined for a map of zeros. Range 0 and up. Cost: the method's, 10 times.

    Departs from the paper: a maximum over few samples is below the one over the ball.

    >>> from salience.boxes import toy
    >>> image = toy.picture()
    >>> case = Case(toy.load("colour"), image, 0, image[0], explain=lambda box, image, target, seed: image[target])
    >>> round(MaxSensitivity()(case).value, 2)
    0.03
    """

    protocol: Annotated[Literal["relative", "absolute"], Doc("whether the change is divided by the size of the map")] = (
        "relative"
    )
    samples: Annotated[int, Doc("images sampled")] = 10
    radius: Annotated[float, Doc("of the ball")] = 0.02
    seed: Annotated[int, Doc("of the samples")] = 0
    better: ClassVar[Better] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ("method",)

    def __post_init__(self) -> None:
        validate.expect_between("samples", self.samples, 1, None)
        validate.expect_between("radius", self.radius, 0, None, open_ends=True)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        values = []
        for number in range(self.samples):
            step = torch.rand(case.image.shape, generator=seeding.generator(self.seed, "max-sensitivity", number)) * 2 - 1
            other = case.again(case.box, case.image + self.radius * step.to(case.image), case.target, None)
            values.append(similarity.relative_change(case.saliency, other, relative=self.protocol == "relative"))
        return MeasureResult(max(values), {"values": values})
