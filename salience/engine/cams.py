"""Class activation maps: a weighted sum of feature maps, enlarged. The methods differ in the weights alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.engine import look
from salience.types import Found, GreyBox, Images, OpenBox, Target

Features = Float[Tensor, "_ c y x"]
Weigh = Callable[[Tensor, Tensor], Tensor]
"""From activations and slopes (n c y x), either of which may be a batch of one, to weights (n c y x) or (n c 1 1)."""


def explain(
    box: OpenBox, images: Images, targets: Sequence[Target], layer: str | None, weigh: Weigh, *, rectify: bool = True
) -> list[Found]:
    """Weigh the feature maps of one layer by what `weigh` makes of activations and slopes."""
    at = look.layer(box, images, layer)
    found: list[Found] = []
    for _, _, reading in look.each(box, images, targets, [at]):
        features, slopes = reading.activations[at].float(), reading.slopes[at].float()
        summed = (weigh(features, slopes) * features).sum(1)
        large = enlarged(summed.relu() if rectify else summed, images)
        silent = slopes.abs().flatten(1).amax(1) == 0
        found += [
            Found(each, evidence={"layers": (at,)}, notes=notes(box, layer, silent=bool(quiet)))
            for each, quiet in zip(large, silent, strict=True)
        ]
    return found


def enlarged(small: Float[Tensor, "n y x"], images: Float[Tensor, "_ 3 h w"]) -> Float[Tensor, "n h w"]:
    """Enlarge maps bilinearly to the images' size."""
    size = (images.shape[-2], images.shape[-1])
    return functional.interpolate(small[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def notes(box: GreyBox, layer: str | None, *, silent: bool) -> tuple[str, ...]:
    """Say what a reader must know of the layer."""
    said = [box.anatomy().note] if layer is None and box.anatomy().note else []
    if silent:
        said.append("the layer gets no gradient from the target, so the map is blank: choose an earlier layer")
    return tuple(said)
