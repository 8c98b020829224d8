"""Ablation-CAM. Desai and Ramaswamy, Ablation-CAM: Visual Explanations via Gradient-free Localization, WACV 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from salience.engine.inside import cams
from salience.engine.inside.loop import choose_layer, iterate_images, read_activations, score_replaced
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Layer
from salience.types import Features, GreyBox, Images, Target


@dataclass(frozen=True)
class AblationCam(BatchedMethod):
    """Weigh each feature map by the share of the class's score that is lost without it. No gradients.

    saliency = ReLU(Σ_k w_k A_k),   w_k = (y − y_k) / |y|

    y is the probability of the class, y_k the same with A_k set to zero. A map that is zero everywhere costs no pass,
    for its weight is zero. Cost: two passes, and one a map through what comes after the layer; several targets
    of one image share all passes.

    Departs from the paper: y is a probability and not a logit, for a box need not give logits; |y|, for a contrast may
    be negative.

    >>> from salience.boxes import toy
    >>> saliency = AblationCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Layer = None

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        layer = choose_layer(box, images, self.layer)
        return [
            each
            for one, its_targets in iterate_images(box, images, targets)
            for each in self.explain(box, one, its_targets, layer)
        ]

    def explain(self, box: GreyBox, image: Images, targets: Sequence[Target], layer: str) -> list[Estimate]:
        """Set the maps to zero one by one."""
        maps = read_activations(box, image, [layer])[layer]
        channels = maps.shape[1]
        active = maps[0].flatten(1).any(1).nonzero()[:, 0]
        ablated = torch.cat([active.new_tensor([channels]), active])  # the first ablates no map

        def ablate(part: slice) -> Features:
            factors = maps.new_ones(len(ablated[part]), channels + 1)
            factors.scatter_(1, ablated[part][:, None], 0)
            return maps * factors[:, :channels, None, None]

        scores = score_replaced(box, image, targets, layer, ablate, len(ablated))
        intact, without = scores[:, :1], scores[:, 1:]
        weights = (intact - without) / torch.where(intact == 0, 1, intact.abs())
        small = torch.einsum("tk,kyx->tyx", weights.to(maps), maps[0, active]).relu()
        evidence = {"layers": (layer,), "maps": channels, "masks": len(active)}
        notes = cams.describe_layer(box, self.layer, blank=False)
        return [Estimate(each, evidence=evidence, notes=notes) for each in cams.enlarge(small, image)]
