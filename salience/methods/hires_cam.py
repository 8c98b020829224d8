"""HiResCAM. Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of CNNs, 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine.inside import cams
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Layer
from salience.types import Images, OpenBox, Target


@dataclass(frozen=True)
class HiresCam(BatchedMethod):
    """Weigh each feature map place by place, by the gradient there.

    saliency = ReLU(Σ_k g_k ⊙ A_k),   g_k = ∂logit / ∂A_k

    Where one linear layer makes the logit of A, the sum before the ReLU is the logit less its bias, place by place.
    Cost: as Grad-CAM.

    Departs from the paper: what lies below zero is cut, as in Grad-CAM.

    >>> from salience.boxes import toy
    >>> saliency = HiresCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Layer = None

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        return cams.explain(box, images, targets, self.layer, lambda _, g: g)
