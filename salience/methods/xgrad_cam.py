"""XGrad-CAM. Fu et al., Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs, BMVC 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from salience.engine.inside import cams
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Layer
from salience.types import Images, OpenBox, Target


@dataclass(frozen=True)
class XgradCam(BatchedMethod):
    """Weigh each feature map by its mean gradient, where a place counts as much as the map is active there.

    saliency = ReLU(Σ_k w_k A_k),   w_k = Σ_u A_k(u) g_k(u) / Σ_v A_k(v),   g_k = ∂logit / ∂A_k

    Each map's sum is then Σ_u A_k(u) g_k(u): what the map is worth to the logit, to first order. Cost: as Grad-CAM.

    Departs from the paper: a map that sums to zero has no weight.

    >>> from salience.boxes import toy
    >>> saliency = XgradCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Layer = None

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        return cams.explain(box, images, targets, self.layer, compute_weights)


def compute_weights(features: Tensor, gradients: Tensor) -> Tensor:
    """Average the gradients, weighed by the activations."""
    total = features.sum((2, 3), keepdim=True)
    return torch.where(total != 0, (features * gradients).sum((2, 3), keepdim=True) / total, 0.0)
