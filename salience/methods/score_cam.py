"""Score-CAM. Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, CVPRW 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from typing_extensions import Doc

from salience.engine.inside import cams
from salience.engine.inside.loop import choose_layer, read_activations, share_scores_of_targets
from salience.engine.perturb import feature_masks, fill
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Fill, Layer
from salience.types import BlackBox, GreyBox, Image, Images, Target


@dataclass(frozen=True)
class ScoreCam(BatchedMethod):
    """Weigh each feature map by the score of the image seen through it.

    saliency = ReLU(Σ_k w_k A_k),   w = softmax over k of logit(image ⊙ m_k)

    m_k is A_k enlarged and stretched to 0…1. The paper subtracts the score of a baseline image, which a softmax
    takes out again. Cost: a pass a map that is not constant; none is left out for its rank. Several targets of one
    image share all passes.

    `weights="probability"` is what the authors' code does: w_k is the probability itself, without a softmax over k.
    Departs from the paper: maps are enlarged before they are stretched, and constant ones, which mask nothing, have
    no weight (libraries that give them one add a constant).

    >>> from salience.boxes import toy
    >>> saliency = ScoreCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Layer = None
    weights: Annotated[Literal["softmax", "probability"], Doc("softmax (of logits over the maps) or probability")] = (
        "softmax"
    )
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        if self.weights not in ("softmax", "probability"):
            raise SettingError(f"expected weights softmax or probability, got {self.weights!r}")

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        layer = choose_layer(box, images, self.layer)
        scoring_box: BlackBox = box.with_logits() if self.weights == "softmax" else box
        estimates = []
        with share_scores_of_targets(images, targets):
            for number, target in enumerate(targets):
                image = images[min(number, len(images) - 1)]
                if number < len(images):
                    activations = read_activations(box, image[None], [layer])[layer][0]
                estimates.append(self.explain(scoring_box, box, image, target, layer, activations))
        return estimates

    def explain(
        self, scoring_box: BlackBox, box: GreyBox, image: Image, target: Target, layer: str, activations: torch.Tensor
    ) -> Estimate:
        """Score every map that is not constant."""
        maps = activations[feature_masks.find_varying(activations)]
        lot = feature_masks.FeatureMasks(maps, (image.shape[-2], image.shape[-1]))
        evidence = {"layers": (layer,), "maps": len(activations), "masks": len(lot)}
        plan_passes(len(lot), default=0, least=len(lot), what=f"the {len(lot)} feature maps of {layer}")
        baseline = fill.make_fill(self.fill, box, image)
        scores = [
            each.clone() for _, _, each in loop.score_masked(scoring_box, image, target, [lot], baseline, least=len(lot))
        ]
        if not scores:
            return Estimate(image.new_zeros(image.shape[1:]), evidence=evidence, notes=("all feature maps are constant",))
        weights = torch.cat(scores).to(maps)
        if self.weights == "softmax":
            weights = weights.softmax(0)
        small = torch.einsum("n,nyx->yx", weights, maps).relu()
        large = cams.enlarge(small[None], image[None])[0]
        return Estimate(
            large, evidence=evidence, notes=cams.describe_layer(box, self.layer, blank=False), passes=1 + len(lot)
        )
