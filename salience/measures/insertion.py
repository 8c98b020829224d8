"""Insertion. Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import validate
from salience.measures import _curves


@dataclass(frozen=True)
class Insertion:
    """Show the most important pixels first, in an image without detail; the sooner the score rises, the better the map.

    insertion = area under score(blank with the image's k highest pixels) over k / pixels, from 0 to 1, by trapezoids

    "rise-2018" begins with the image under RISE's 11×11 kernel, which is nearly flat, with zeros beyond the border in
    normalised space; 224 pixels a step, steps of the same width; its sweeps have `step=1792`. "torchcam" is torchcam
    0.5's definition: it begins with the box's mean colour, takes at most 20 steps of one size, and a last, shorter
    step counts as much as it shows. "blur-51" is Group-CAM's variant: it begins with the image under a Gaussian
    (σ = 50) on 51×51 pixels, mirrored at the border; 448 pixels a step as far as known (a published script has 1792).
    Values of one protocol say nothing about another's. The curve ends at the score of the image.

    Range 0 to 1 for a probability. Cost: ⌈pixels / step⌉ + 1 passes: 225, 21 and 113 at 224 × 224.

    Departs: equal pixels go in reading order, where RISE's and Group-CAM's code leaves it to the sort; torchcam's
    score is the logit unless it is told otherwise, here it is the target's.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Insertion(step=64)(case).value, 2)
    0.9
    """

    protocol: Annotated[Literal["rise-2018", "torchcam", "blur-51"], Doc("start, step and area")] = "rise-2018"
    step: Annotated[int | None, Doc("pixels a step; None: the protocol's")] = None
    better: ClassVar[Better] = "higher"
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        validate.expect_between("step", self.step, 1, None)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        return _curves.measure_area(case, self.protocol, self.step, insert=True)
