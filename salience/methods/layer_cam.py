"""LayerCAM. Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, TIP 2021."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine.inside import cams
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Layer
from salience.types import Images, OpenBox, Target


@dataclass(frozen=True)
class LayerCam(BatchedMethod):
    """Weigh each feature map place by place, by the gradient there where it is positive.

    saliency = ReLU(Σ_k ReLU(g_k) ⊙ A_k),   g_k = ∂logit / ∂A_k

    No average over places, so that earlier layers, which see finer, give maps of use. Cost: as Grad-CAM.

    Departs from the paper: one layer at a time; the paper also merges maps of several.

    >>> from salience.boxes import toy
    >>> saliency = LayerCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Layer = None

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        return cams.explain(box, images, targets, self.layer, lambda _, g: g.relu())
