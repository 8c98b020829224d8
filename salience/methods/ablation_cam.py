"""Ablation-CAM. Desai and Ramaswamy, Ablation-CAM: Visual Explanations via Gradient-free Localization, WACV 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from salience.engine import cams, look
from salience.types import Features, Found, GreyBox, Images, Target


@dataclass(frozen=True)
class AblationCam(look.Looks):
    """Weigh each feature map by the share of the class's score that is lost without it. No gradients.

    saliency = ReLU(Σ_k w_k A_k),   w_k = (y − y_k) / |y|

    y is the probability of the class, y_k the same with A_k set to zero. A map that is zero everywhere is not asked
    about, for its weight is zero. Cost: two passes, and one a map through what comes after the layer; several targets
    of one image share all passes.

    Departs from the paper: y is a probability and not a logit, for a box need not give logits; |y|, for a contrast may
    be negative.
    """

    layer: str | None = None  # the layer whose feature maps are weighed; none given: the end of the last block

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Found]:
        """Explain each image for its target; one image may have several targets."""
        at = look.layer(box, images, self.layer)
        return [each for one, aims in look.singly(box, images, targets) for each in self.explain(box, one, aims, at)]

    def explain(self, box: GreyBox, image: Images, targets: Sequence[Target], at: str) -> list[Found]:
        """Take the maps out one by one."""
        maps = look.tap(box, image, [at])[at]
        channels = maps.shape[1]
        alive = maps[0].flatten(1).any(1).nonzero()[:, 0]
        gone = torch.cat([alive.new_tensor([channels]), alive])  # the first of them is none of the maps

        def without(part: slice) -> Features:
            kept = maps.new_ones(len(gone[part]), channels + 1)
            kept.scatter_(1, gone[part][:, None], 0)
            return maps * kept[:, :channels, None, None]

        scores = look.onward(box, image, targets, at, without, len(gone))
        whole, rest = scores[:, :1], scores[:, 1:]
        weights = (whole - rest) / torch.where(whole == 0, 1, whole.abs())
        small = torch.einsum("tk,kyx->tyx", weights.to(maps), maps[0, alive]).relu()
        told, notes = {"layers": (at,), "maps": channels, "masks": len(alive)}, cams.notes(box, self.layer, silent=False)
        return [Found(each, evidence=told, notes=notes) for each in cams.enlarged(small, image)]
