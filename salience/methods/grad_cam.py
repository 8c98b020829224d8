"""Grad-CAM. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2017."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine.inside import cams
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Layer
from salience.types import Images, OpenBox, Target


@dataclass(frozen=True)
class GradCam(BatchedMethod):
    """Weigh each feature map by how much the class's logit rises with it, on average over places.

    saliency = ReLU(Σ_k w_k A_k),   w_k = mean over places of ∂logit / ∂A_k

    A are the maps of one layer, by default the end of the last block, enlarged bilinearly. Cost: one forward pass, and
    one backward pass to the layer.

    Departs from the paper: in nothing.

    >>> from salience.boxes import toy
    >>> saliency = GradCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Layer = None

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        return cams.explain(box, images, targets, self.layer, lambda _, g: g.mean((2, 3), keepdim=True))
