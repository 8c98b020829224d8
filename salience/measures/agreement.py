"""Agreement of two methods. Krishna et al., The Disagreement Problem in Explainable Machine Learning, 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from salience import registry
from salience.case import Better, Case, Measured, Need
from salience.engine import likeness
from salience.types import BlackBox


@dataclass(frozen=True)
class Agreement:
    """Compare the map with the one that a reference method makes of the same case.

    agreement = likeness(saliency, reference(box, image, target))

    "spearman" is the correlation of the ranks of all pixels, "ssim" the structural similarity of both maps scaled to
    0…1 (11×11 Gaussian, σ = 1.5), "top-k" the intersection over union of the highest tenths. Two methods may agree
    and both be wrong, so neither direction is better. Not defined where either map is constant.

    Range −1 to 1; "top-k" 0 to 1. Cost: the reference's.

    Departs from the paper: its top-k agreement is the share of common features; here it is their IoU.
    """

    protocol: likeness.Kind = "spearman"  # how the maps are compared
    reference: str = "grad-cam"  # the method that the map is compared with, with its default settings
    better: ClassVar[Better] = "neither"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Say what the reference asks of a box."""
        return () if registry.need(registry.method(self.reference)) is BlackBox else ("gradients",)

    def __call__(self, case: Case) -> Measured:
        """Measure one case."""
        other = registry.make(self.reference)(case.box, case.image, case.target)
        return Measured(likeness.between(case.saliency, other, self.protocol))
