"""HiResCAM. Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of CNNs, 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine import cams, look
from salience.types import Found, Images, OpenBox, Target


@dataclass(frozen=True)
class HiresCam(look.Looks):
    """Weigh each feature map place by place, by the slope there.

    saliency = ReLU(Σ_k g_k ⊙ A_k),   g_k = ∂logit / ∂A_k

    Where one linear layer makes the logit of A, the sum before the ReLU is the logit less its bias, place by place.
    Cost: as Grad-CAM.

    Departs from the paper: what lies below zero is cut, as in Grad-CAM.
    """

    layer: str | None = None  # the layer whose feature maps are weighed; none given: the end of the last block

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Found]:
        """Explain each image for its target; one image may have several targets."""
        return cams.explain(box, images, targets, self.layer, lambda _, g: g)
