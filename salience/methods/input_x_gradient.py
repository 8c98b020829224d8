"""Input × gradient. Shrikumar et al., Not Just a Black Box: Learning Important Features Through … Differences, 2016."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine import look, pixels
from salience.types import IMAGE, Found, Images, OpenBox, Target


@dataclass(frozen=True)
class InputXGradient(look.Looks):
    """A pixel matters as much as the logit would lose, were the network linear and the pixel grey.

    saliency = Σ over channels of x · ∂logit / ∂x

    x is the input as the network sees it, after the box's normalisation: (pixel − mean) · slope at the pixel is the
    same number. What is compared with is thus the mean colour, or black where the box normalises nothing. The map has
    a sign. Cost: one forward pass and one backward pass.

    Departs from the paper: channels are summed; the paper keeps them apart.
    """

    channels: pixels.Channels = "sum"  # how three channels become one: sum, which keeps the sign, sum-abs or max-abs

    def __post_init__(self) -> None:
        pixels.expect("channels", self.channels, pixels.Channels)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Found]:
        """Explain each image for its target; one image may have several targets."""
        found = []
        for _, shown, reading in look.each(box, images, targets, [IMAGE]):
            found += pixels.found((shown - pixels.zero(box, shown)) * reading.slopes[IMAGE], self.channels)
        return found
