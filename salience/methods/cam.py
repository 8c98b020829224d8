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
from salience.engine.inside.loop import choose_layer, introspect, iterate_images, read_activations, score_replaced
from salience.engine.query.ask import guard
from salience.estimates import BatchedMethod, Estimate
from salience.types import Features, GreyBox, Images, OpenBox, Target

EVEN = 1e-4  # gradients that differ over places by less, as a share of the greatest, are equal
AVERAGED = (
    "the box does not average this layer over places and weigh it by a linear layer: "
    "the weights are mean gradients, so this is Grad-CAM without its ReLU"
)
PROBED = (
    "the box does not average this layer over places and weigh it by a linear layer: "
    "the weights are its answers to each map alone, and the map is no sum that makes the logit"
)


@dataclass(frozen=True)
class Cam(BatchedMethod):
    """Weigh each feature map as the last linear layer weighs its average.

    saliency = Σ_k w_k A_k,   w_k = Σ over places of ∂logit / ∂A_k

    Where A is averaged over places and goes into a linear layer, w_k is that layer's weight, and what lies below zero
    speaks against the class. Elsewhere a note says that it is not. Cost: one forward pass, and one backward pass
    through the head; of several classes of one image too, one forward pass.

    A box without gradients scores each map alone, one pass a map through the head; the weights are the same.

    Departs from the paper: the weights are read from gradients, so the linear layer need not be found; in a transformer
    without reductions, where the last patch tokens may go nowhere, the default layer is the last block's.

    >>> from salience.boxes import toy
    >>> saliency = Cam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Annotated[
        str | None, Doc("the layer whose feature maps are weighed; none given: what is pooled for the answer")
    ] = None

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        layer = choose_layer(box, images, self.layer or find_pooled_layer(box, images))
        if not isinstance(box, OpenBox):
            return [
                each
                for one, its_targets in iterate_images(box, images, targets)
                for each in self.probe_maps(box, one, its_targets, layer)
            ]
        estimates: list[Estimate] = []
        for _, _, result in introspect(box, images, targets, [layer]):
            features, gradients = result.activations[layer].float(), result.gradients[layer].float()
            large = cams.enlarge((gradients.sum((2, 3), keepdim=True) * features).sum(1), images)
            for each, gradient in zip(large, gradients, strict=True):
                notes = cams.describe_layer(box, self.layer, blank=not bool(gradient.any()))
                estimates.append(
                    Estimate(each, evidence={"layers": (layer,)}, notes=notes if is_even(gradient) else (*notes, AVERAGED))
                )
        return estimates

    def probe_maps(self, box: GreyBox, image: Images, targets: Sequence[Target], layer: str) -> list[Estimate]:
        """Compute the weights without gradients: w_k = logit(A_k = 1, all other maps 0) − logit(all maps 0)."""
        maps = read_activations(box, image, [layer])[layer]
        count = maps.shape[1]

        def isolate(part: slice) -> Features:
            numbers = torch.arange(-2, count, device=maps.device)[part]  # all maps, none, each alone
            ones = (numbers[:, None] == torch.arange(count, device=maps.device))[:, :, None, None]
            return torch.where((numbers == -2)[:, None, None, None], maps, ones.to(maps))

        logits = score_replaced(box.with_logits(), image, targets, layer, isolate, count + 2)
        intact, empty, weights = logits[:, 0], logits[:, 1], logits[:, 2:] - logits[:, 1:2]
        large = cams.enlarge(torch.einsum("tk,kyx->tyx", weights, maps[0]), image)
        predicted = weights @ maps[0].mean((1, 2)) + empty  # what the logit would be if the layer were averaged and weighed
        linear = (predicted - intact).abs() <= EVEN * (intact - empty).abs() + 1e-4 * intact.abs()
        notes = cams.describe_layer(box, self.layer, blank=False)
        return [
            Estimate(each, evidence={"layers": (layer,)}, notes=notes if bool(agrees) else (*notes, PROBED))
            for each, agrees in zip(large, linear, strict=True)
        ]


def find_pooled_layer(box: GreyBox, images: Images) -> str:
    """Name the last feature maps; of a transformer without reductions, what goes into its last block."""
    with guard(box, images):
        info = box.layer_info()
    return info.blocks[-1] if info.note else info.top


def is_even(gradient: Float[Tensor, "c y x"]) -> bool:
    """Say whether each map has the same gradient at all places."""
    difference = (gradient.amax((1, 2)) - gradient.amin((1, 2))).max()
    return bool(difference <= EVEN * gradient.abs().max())
