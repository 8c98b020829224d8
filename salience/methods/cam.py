"""CAM. Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience.engine.inside import cams
from salience.engine.inside.loop import BatchedMethod, introspect, iterate_images, read_activations, score_replaced
from salience.engine.query.ask import guard
from salience.types import Estimate, Features, GreyBox, Images, OpenBox, Target

EVEN = 1e-4  # gradients that differ over places by less, in parts of the greatest, are one
AVERAGED = (
    "the box does not average this layer over places and weigh it by a linear layer: "
    "the weights are mean gradients, so this is Grad-CAM without its ReLU"
)
ASKED = (
    "the box does not average this layer over places and weigh it by a linear layer: "
    "the weights are what it answers to each map alone, and the map is no sum that makes the logit"
)


@dataclass(frozen=True)
class Cam(BatchedMethod):
    """Weigh each feature map as the last linear layer weighs its average.

    saliency = Σ_k w_k A_k,   w_k = Σ over places of ∂logit / ∂A_k

    Where A is averaged over places and goes into a linear layer, w_k is that layer's weight, and what lies below zero
    speaks against the class. Elsewhere a note says that it is not. Cost: one forward pass, and one backward pass
    through the head; of several classes of one image too, one forward pass.

    A box without gradients is asked about each map alone, one pass a map through the head; the weights are the same.

    Departs from the paper: the weights are read from gradients, so the linear layer need not be found; in a transformer
    without reductions, where the last patch tokens may go nowhere, the default layer is the last block's.
    """

    layer: Annotated[
        str | None, Doc("the layer whose feature maps are weighed; none given: what is pooled for the answer")
    ] = None

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        at = self.layer or top(box, images)
        if not isinstance(box, OpenBox):
            return [each for one, aims in iterate_images(box, images, targets) for each in self.asked(box, one, aims, at)]
        found: list[Estimate] = []
        for _, _, reading in introspect(box, images, targets, [at]):
            features, gradients = reading.activations[at].float(), reading.gradients[at].float()
            large = cams.enlarge((gradients.sum((2, 3), keepdim=True) * features).sum(1), images)
            for each, gradient in zip(large, gradients, strict=True):
                notes = cams.describe_layer(box, self.layer, silent=not bool(gradient.any()))
                found.append(
                    Estimate(each, evidence={"layers": (at,)}, notes=notes if even(gradient) else (*notes, AVERAGED))
                )
        return found

    def asked(self, box: GreyBox, image: Images, targets: Sequence[Target], at: str) -> list[Estimate]:
        """Find the weights without gradients: w_k = logit(A_k = 1, all other maps 0) − logit(all maps 0)."""
        maps = read_activations(box, image, [at])[at]
        count = maps.shape[1]

        def alone(part: slice) -> Features:
            numbers = torch.arange(-2, count, device=maps.device)[part]  # the maps as they are, none, each alone
            ones = (numbers[:, None] == torch.arange(count, device=maps.device))[:, :, None, None]
            return torch.where((numbers == -2)[:, None, None, None], maps, ones.to(maps))

        logits = score_replaced(box.with_logits(), image, targets, at, alone, count + 2)
        whole, none, weights = logits[:, 0], logits[:, 1], logits[:, 2:] - logits[:, 1:2]
        large = cams.enlarge(torch.einsum("tk,kyx->tyx", weights, maps[0]), image)
        told = weights @ maps[0].mean((1, 2)) + none  # what the logit would be if the layer were averaged and weighed
        sure = (told - whole).abs() <= EVEN * (whole - none).abs() + 1e-4 * whole.abs()
        notes = cams.describe_layer(box, self.layer, silent=False)
        return [
            Estimate(each, evidence={"layers": (at,)}, notes=notes if bool(yes) else (*notes, ASKED))
            for each, yes in zip(large, sure, strict=True)
        ]


def top(box: GreyBox, images: Images) -> str:
    """Name the last feature maps; of a transformer without reductions, what goes into its last block."""
    with guard(box, images):
        anatomy = box.layer_info()
    return anatomy.blocks[-1] if anatomy.note else anatomy.top


def even(gradient: Float[Tensor, "c y x"]) -> bool:
    """Say whether each map has one gradient at all places."""
    apart = (gradient.amax((1, 2)) - gradient.amin((1, 2))).max()
    return bool(apart <= EVEN * gradient.abs().max())
