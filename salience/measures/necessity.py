"""Necessity. Fong, Patrick and Vedaldi, Understanding deep networks via extremal perturbations, ICCV 2019."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from salience.case import Better, Case, Measured, Need
from salience.measures._kept import highest, relative, share_of


@dataclass(frozen=True)
class Necessity:
    """Remove the highest pixels and see how much of the score remains: what was necessary takes it along.

    necessity = score(image + top · (mean − image)) / score(image)

    "mean-10": top marks the highest 10 % of the pixels, exactly, and they show the mean colour. The question is that
    of the paper's deletion game at a fixed area, and of the smallest destroying region (Dabkowski and Gal, NIPS
    2017). Departs: they search for a mask that answers it, here a map's answer is graded; area, fill and quotient are
    ours.

    Range 0 upward: above 1 where the score rises. NaN where the image's score is not above 0. Cost: 2 passes.
    """

    protocol: Literal["mean-10"] = "mean-10"  # how much is removed, and what is shown there
    share: float | None = None  # of the pixels that is removed, between 0 and 1; none: the protocol's
    better: ClassVar[Better] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        share_of(self.share)

    def __call__(self, case: Case) -> Measured:
        """Measure one case."""
        return relative(case, 1 - highest(case.saliency, share_of(self.share)))
