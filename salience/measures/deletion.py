"""Deletion. Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import validate
from salience.measures import _curves


@dataclass(frozen=True)
class Deletion:
    """Hide the most important pixels first; the sooner the score falls, the better the map.

    deletion = area under score(image without its k highest pixels) over k / pixels, from 0 to 1, by trapezoids

    "rise-2018" hides 224 pixels a step behind the box's mean colour (zero in its normalised space), and gives every
    step the same width, as RISE's code does; its sweeps have `step=1792`. "torchcam" is torchcam 0.5's definition:
    the mean colour too, at most 20 steps of one size, and a last, shorter step counts as much as it hides. "blur-51" is
    Group-CAM's variant, which differs in insertion; deletion goes to the mean colour, 448 pixels a step as far as
    known (a published script has 1792). The curve begins at the score of the image and ends at that of the plain colour.

    Range 0 to 1 for a probability. Cost: ⌈pixels / step⌉ + 1 passes: 225, 21 and 113 at 224 × 224.

    Departs: equal pixels go in reading order, where RISE's and Group-CAM's code leaves it to the sort; torchcam's
    score is the logit unless it is told otherwise, here it is the target's.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Deletion(step=64)(case).value, 2)
    0.35
    """

    protocol: Annotated[Literal["rise-2018", "torchcam", "blur-51"], Doc("fill, step and area")] = "rise-2018"
    step: Annotated[int | None, Doc("pixels a step; None: the protocol's")] = None
    better: ClassVar[Better] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        validate.expect_between("step", self.step, 1, None)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        return _curves.measure_area(case, self.protocol, self.step, insert=False)
