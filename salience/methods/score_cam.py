"""Score-CAM. Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, CVPRW 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from salience.engine import cams, features, fill, look, probe
from salience.errors import SettingError
from salience.types import BlackBox, Found, GreyBox, Image, Images, Target


@dataclass(frozen=True)
class ScoreCam(look.Looks):
    """Weigh each feature map by the score of the image seen through it.

    saliency = ReLU(Σ_k w_k A_k),   w = softmax over k of logit(image ⊙ m_k)

    m_k is A_k enlarged and stretched to 0…1. The paper subtracts the score of a baseline image, which a softmax
    takes out again. Cost: a pass a map that is not constant; none is left out for its rank. Several targets of one
    image share all passes.

    `weights="probability"` is what the authors' code does: w_k is the probability itself, without a softmax over k.
    Departs from the paper: maps are enlarged before they are stretched, and constant ones, which mask nothing, have
    no weight (libraries that give them one add a constant).
    """

    layer: str | None = None  # the layer whose feature maps are weighed; none given: the end of the last block
    weights: Literal["softmax", "probability"] = "softmax"  # softmax (of logits over the maps) or probability
    fill: str = "mean"  # what hidden pixels show: mean, black, white, grey, blur, noise or 0…1

    def __post_init__(self) -> None:
        if self.weights not in ("softmax", "probability"):
            raise SettingError(f"expected weights softmax or probability, got {self.weights!r}")

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Found]:
        """Explain each image for its target; one image may have several targets."""
        layer = look.layer(box, images, self.layer)
        asked: BlackBox = box.bare() if self.weights == "softmax" else box
        found = []
        with look.sharing(images, targets):
            for number, target in enumerate(targets):
                image = images[min(number, len(images) - 1)]
                if number < len(images):
                    activations = look.tap(box, image[None], [layer])[layer][0]
                found.append(self.explain(asked, box, image, target, layer, activations))
        return found

    def explain(
        self, asked: BlackBox, box: GreyBox, image: Image, target: Target, layer: str, activations: torch.Tensor
    ) -> Found:
        """Score every map that is not constant."""
        maps = activations[features.alive(activations)]
        lot = features.Channels(maps, (image.shape[-2], image.shape[-1]))
        told = {"layers": (layer,), "maps": len(activations), "masks": len(lot)}
        probe.plan(len(lot), default=0, least=len(lot), what=f"the {len(lot)} feature maps of {layer}")
        behind = fill.of(self.fill, box, image)
        scores = [each.clone() for _, _, each in probe.each(asked, image, target, [lot], behind, least=len(lot))]
        if not scores:
            return Found(image.new_zeros(image.shape[1:]), evidence=told, notes=("all feature maps are constant",))
        weights = torch.cat(scores).to(maps)
        if self.weights == "softmax":
            weights = weights.softmax(0)
        small = torch.einsum("n,nyx->yx", weights, maps).relu()
        large = cams.enlarged(small[None], image[None])[0]
        return Found(large, evidence=told, notes=cams.notes(box, self.layer, silent=False), passes=1 + len(lot))
