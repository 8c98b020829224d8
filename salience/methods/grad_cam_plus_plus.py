"""Grad-CAM++. Chattopadhay et al., Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks, WACV 2018."""

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
class GradCamPlusPlus(BatchedMethod):
    """Weigh each feature map by its positive gradients, so that a small object counts as much as a large one.

    saliency = ReLU(Σ_k w_k A_k),   w_k = Σ_u a_k(u) · ReLU(g_k(u)),   a_k = g_k² / (2 g_k² + (Σ_v A_k(v)) · g_k³)

    g_k = ∂logit / ∂A_k at place u, and a_k = 0 where the denominator vanishes. The paper's score is exp(logit), whose
    second and third derivatives are powers of g where the logit is linear in A: the factor exp(logit) is left out, for
    it is the same for all maps, so the gradients of the logit are all that is needed. Cost: as Grad-CAM.

    Departs from the paper: in nothing.

    >>> from salience.boxes import toy
    >>> saliency = GradCamPlusPlus()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Layer = None

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        return cams.explain(box, images, targets, self.layer, compute_weights)


def compute_weights(features: Tensor, gradients: Tensor) -> Tensor:
    """Weigh by positive gradients; g² is cancelled first, for float32 underflows where gradients are small."""
    denominator = 2 + features.sum((2, 3), keepdim=True) * gradients
    share = torch.where((gradients != 0) & (denominator != 0), 1 / denominator, 0.0)
    return (share * gradients.relu()).sum((2, 3), keepdim=True)
