"""Agreement of two methods. Krishna et al., The Disagreement Problem in Explainable Machine Learning, 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from typing_extensions import Doc

from salience import registry
from salience.case import Better, Case, MeasureResult, Need
from salience.engine import similarity
from salience.types import BlackBox


@dataclass(frozen=True)
class Agreement:
    """Compare the map with the one that a reference method makes of the same case.

    agreement = similarity(saliency, reference(box, image, target))

    "spearman" is the correlation of the ranks of all pixels, "ssim" the structural similarity of both maps scaled to
    0…1 (11×11 Gaussian, σ = 1.5), "top-k" the intersection over union of the highest tenths. Two methods may agree
    and both be wrong, so neither direction is better. Not defined where either map is constant.

    Range −1 to 1; "top-k" 0 to 1. Cost: the reference's.

    Departs from the paper: its top-k agreement is the share of common features; here it is their IoU.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Agreement()(case).value, 2)
    1.0
    """

    protocol: Annotated[similarity.Kind, Doc("how the maps are compared")] = "spearman"
    reference: Annotated[str, Doc("the method that the map is compared with, with its default settings")] = "grad-cam"
    better: ClassVar[Better] = "neither"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Need what the reference needs of a box."""
        return () if registry.find_need(registry.find_method(self.reference)) is BlackBox else ("gradients",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        other = registry.make_method(self.reference)(case.box, case.image, case.target)
        return MeasureResult(similarity.compare(case.saliency, other, self.protocol))
