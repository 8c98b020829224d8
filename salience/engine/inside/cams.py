"""Class activation maps: a weighted sum of feature maps, enlarged. The methods differ in the weights alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.engine.inside.loop import choose_layer, introspect
from salience.estimates import Estimate
from salience.types import GreyBox, Images, OpenBox, Target

Features = Float[Tensor, "_ f y x"]
Weigh = Callable[[Tensor, Tensor], Tensor]
"""Maps activations and gradients (n c y x), either of which may be a batch of one, to weights (n c y x) or (n c 1 1)."""


def explain(
    box: OpenBox,
    images: Images,
    targets: Sequence[Target],
    layer: str | None,
    compute_weights: Weigh,
    *,
    rectify: bool = True,
) -> list[Estimate]:
    """Weigh the feature maps of one layer by what `compute_weights` makes of activations and gradients.

    >>> from salience.boxes import toy
    >>> explain(toy.load("colour"), toy.picture()[None], [0], None, lambda _, g: g.mean((2, 3), keepdim=True))[0].evidence
    {'layers': ('act',)}
    """
    chosen = choose_layer(box, images, layer)
    estimates: list[Estimate] = []
    for _, _, result in introspect(box, images, targets, [chosen]):
        features, gradients = result.activations[chosen].float(), result.gradients[chosen].float()
        sums = (compute_weights(features, gradients) * features).sum(1)
        large = enlarge(sums.relu() if rectify else sums, images)
        without_gradient = gradients.abs().flatten(1).amax(1) == 0
        estimates += [
            Estimate(each, evidence={"layers": (chosen,)}, notes=describe_layer(box, layer, blank=bool(zero)))
            for each, zero in zip(large, without_gradient, strict=True)
        ]
    return estimates


def enlarge(small: Float[Tensor, "n y x"], images: Float[Tensor, "_ c h w"]) -> Float[Tensor, "n h w"]:
    """Enlarge maps bilinearly to the images' size.

    >>> import torch
    >>> enlarge(torch.ones(2, 7, 7), torch.ones(2, 3, 32, 32)).shape
    torch.Size([2, 32, 32])
    """
    size = (images.shape[-2], images.shape[-1])
    return functional.interpolate(small[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def describe_layer(box: GreyBox, layer: str | None, *, blank: bool) -> tuple[str, ...]:
    """Write the notes that a reader of the map needs about the layer.

    >>> from salience.boxes import toy
    >>> describe_layer(toy.load("colour"), None, blank=True)
    ('the layer gets no gradient from the target, so the map is blank: choose an earlier layer',)
    """
    notes = [box.layer_info().note] if layer is None and box.layer_info().note else []
    if blank:
        notes.append("the layer gets no gradient from the target, so the map is blank: choose an earlier layer")
    return tuple(notes)
