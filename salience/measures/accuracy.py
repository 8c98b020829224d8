"""Accuracy, also under noise and under attack: Madry et al., Towards Deep Learning Models Resistant …, ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from salience.case import Better, Case, Measured, Need
from salience.engine import chance, look, probe
from salience.types import IMAGE, Images


@dataclass(frozen=True)
class Accuracy:
    """Say whether the target is the likeliest class: 1 or 0; the mean over pictures is the accuracy. No map is looked at.

    accuracy = [argmax f(x̃) = target]

    It stands beside measures of maps where classifiers are compared, with `target = "label"`. "clean": x̃ is the image.
    "noise": the share of ten copies with normal noise of `sigma`, cut to 0…1. "pgd": x̃ is the worst image within
    `epsilon` of each pixel that ten steps of 2.5 ε / 10 find, uphill in the target's −log probability, from a start drawn
    evenly.

    Range 0 to 1. NaN where the target is no single class. Cost: 1 pass, 10, or 11 of them and 10 backward.

    Departs from the paper: the label is the explained class.
    """

    protocol: Literal["clean", "noise", "pgd"] = "clean"  # what is done to the image
    sigma: float = 0.1  # standard deviation of the noise, of pixels in 0…1
    epsilon: float = 8 / 255  # ε, the farthest that the attack moves a pixel
    seed: int = 0  # of the noise and of the start
    better: ClassVar[Better] = "higher"

    def __post_init__(self) -> None:
        for name in ("sigma", "epsilon"):
            probe.expect_between(name, getattr(self, name), 0, None)

    @property
    def needs(self) -> tuple[Need, ...]:
        """Only an attack looks inside."""
        return ("gradients",) if self.protocol == "pgd" else ()

    def __call__(self, case: Case) -> Measured:
        """Measure one case."""
        if not isinstance(case.target, int):
            return Measured(float("nan"))
        rows = probe.score(case.box, self.shown(case, case.target))
        return Measured(float((rows.argmax(1) == case.target).float().mean()))

    def shown(self, case: Case, target: int) -> Images:
        """Make what the box is shown."""
        image = case.image[None].to(case.box.device)
        chances = chance.generator(self.seed, "accuracy", self.protocol)
        if self.protocol == "noise":
            drawn = torch.randn(10, *case.image.shape, generator=chances)
            return (image + self.sigma * drawn.to(image)).clamp(0, 1)
        if self.protocol == "pgd":
            start = (2 * torch.rand(case.image.shape, generator=chances) - 1).to(image)
            return self.attacked(case, image, (image + self.epsilon * start).clamp(0, 1), target)
        return image

    def attacked(self, case: Case, image: Images, start: Images, target: int) -> Images:
        """Walk uphill within the bounds."""
        found = start
        for _ in range(10):
            ((_, _, reading),) = look.each(case.box, found, [target], [IMAGE], "log-probability")  # type: ignore[arg-type]  # "gradients" is needed
            moved = found - 0.25 * self.epsilon * reading.slopes[IMAGE].sign().to(found)
            found = torch.maximum(torch.minimum(moved, image + self.epsilon), image - self.epsilon).clamp(0, 1)
        return found
