"""Necessity. Fong, Patrick and Vedaldi, Understanding deep networks via extremal perturbations, ICCV 2019."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.measures._masked_score import choose_share, keep_highest, score_mask_relatively


@dataclass(frozen=True)
class Necessity:
    """Remove the highest pixels and see how much of the score remains: what was necessary takes it along.

    necessity = score(image + top · (mean − image)) / score(image)

    "mean-10": top marks the highest 10 % of the pixels, exactly, and they show the mean colour. The question is that
    of the paper's deletion game at a fixed area, and of the smallest destroying region (Dabkowski and Gal, NIPS
    2017). Departs: they search for a mask that answers it, here a map's answer is graded; area, fill and quotient are
    ours.

    Range 0 upward: above 1 where the score rises. NaN where the image's score is not above 0. Cost: 2 passes.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Necessity()(case).value, 2)
    0.39
    """

    protocol: Annotated[Literal["mean-10"], Doc("how much is removed, and what is shown there")] = "mean-10"
    share: Annotated[float | None, Doc("of the pixels that is removed, between 0 and 1; none: the protocol's")] = None
    better: ClassVar[Better] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        choose_share(self.share)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        return score_mask_relatively(case, 1 - keep_highest(case.saliency, choose_share(self.share)))
