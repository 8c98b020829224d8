"""Gradient. Simonyan, Vedaldi and Zisserman, Deep Inside Convolutional Networks: Visualising … Saliency Maps, 2014."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine import look, pixels
from salience.types import IMAGE, Found, Images, OpenBox, Target


@dataclass(frozen=True)
class Gradient(look.Looks):
    """A pixel matters as much as the class's logit would move with it.

    saliency = max over channels of |∂logit / ∂pixel|

    Pixels are in 0…1, before the box's normalisation. Cost: one forward pass and one backward pass.

    Departs from the paper: in nothing, with `channels="max-abs"`. A size has no sign: what speaks against the class is
    high too. `sum` keeps the sign, which then says whether brighter is better there, not whether the pixel helps.
    """

    channels: pixels.Channels = "max-abs"  # how three channels become one: max-abs, sum-abs or sum

    def __post_init__(self) -> None:
        pixels.expect("channels", self.channels, pixels.Channels)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Found]:
        """Explain each image for its target; one image may have several targets."""
        found = []
        for _, _, reading in look.each(box, images, targets, [IMAGE]):
            found += pixels.found(reading.slopes[IMAGE], self.channels)
        return found
