"""Accuracy, also under noise and under attack: Madry et al., Towards Deep Learning Models Resistant …, ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import seeding, validate
from salience.engine.inside.loop import introspect
from salience.engine.query.ask import score_batch
from salience.types import IMAGE, Images


@dataclass(frozen=True)
class Accuracy:
    """Say whether the target is the likeliest class: 1 or 0; the mean over pictures is the accuracy. The map is not used.

    accuracy = [argmax f(x̃) = target]

    It stands beside measures of maps where classifiers are compared, with `target = "label"`. "clean": x̃ is the image.
    "noise": the share of ten copies with normal noise of `sigma`, cut to 0…1. "pgd": x̃ is the worst image within
    `epsilon` of each pixel that ten steps of 2.5 ε / 10 find, uphill in the target's −log probability, from a uniformly
    random start.

    Range 0 to 1. NaN where the target is no single class. Cost: 1 pass, 10, or 11 of them and 10 backward.

    Departs from the paper: the label is the explained class.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Accuracy()(case).value, 2)
    1.0
    """

    protocol: Annotated[Literal["clean", "noise", "pgd"], Doc("what is done to the image")] = "clean"
    sigma: Annotated[float, Doc("standard deviation of the noise, of pixels in 0…1")] = 0.1
    epsilon: Annotated[float, Doc("ε, the farthest that the attack moves a pixel")] = 8 / 255
    seed: Annotated[int, Doc("of the noise and of the start")] = 0
    better: ClassVar[Better] = "higher"

    def __post_init__(self) -> None:
        for name in ("sigma", "epsilon"):
            validate.expect_between(name, getattr(self, name), 0, None)

    @property
    def needs(self) -> tuple[Need, ...]:
        """Only an attack needs gradients."""
        return ("gradients",) if self.protocol == "pgd" else ()

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        if not isinstance(case.target, int):
            return MeasureResult(float("nan"))
        rows = score_batch(case.box, self.make_images(case, case.target))
        return MeasureResult(float((rows.argmax(1) == case.target).float().mean()))

    def make_images(self, case: Case, target: int) -> Images:
        """Make the images that the box scores."""
        image = case.image[None].to(case.box.device)
        generator = seeding.generator(self.seed, "accuracy", self.protocol)
        if self.protocol == "noise":
            noise = torch.randn(10, *case.image.shape, generator=generator)
            return (image + self.sigma * noise.to(image)).clamp(0, 1)
        if self.protocol == "pgd":
            start = (2 * torch.rand(case.image.shape, generator=generator) - 1).to(image)
            return self.attack(case, image, (image + self.epsilon * start).clamp(0, 1), target)
        return image

    def attack(self, case: Case, image: Images, start: Images, target: int) -> Images:
        """Take ten steps up the loss, within the bounds."""
        moved = start
        for _ in range(10):
            ((_, _, result),) = introspect(case.box, moved, [target], [IMAGE], "log-probability")  # type: ignore[arg-type]  # "gradients" is needed
            step = moved - 0.25 * self.epsilon * result.gradients[IMAGE].sign().to(moved)
            moved = torch.maximum(torch.minimum(step, image + self.epsilon), image - self.epsilon).clamp(0, 1)
        return moved
