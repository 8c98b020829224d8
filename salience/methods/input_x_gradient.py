"""Input × gradient. Shrikumar et al., Not Just a Black Box: Learning Important Features Through … Differences, 2016."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine.inside import input_gradients
from salience.engine.inside.loop import introspect
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Channels
from salience.types import IMAGE, Images, OpenBox, Target


@dataclass(frozen=True)
class InputXGradient(BatchedMethod):
    """A pixel matters as much as the logit would lose, were the network linear and the pixel grey.

    saliency = Σ over channels of x · ∂logit / ∂x

    x is the network's own input, after the box's normalisation: (pixel − mean) · gradient at the pixel is the
    same number. What is compared with is thus the mean colour, or black where the box normalises nothing. The map has
    a sign. Cost: one forward pass and one backward pass.

    Departs from the paper: channels are summed; the paper has one map a channel.

    >>> from salience.boxes import toy
    >>> saliency = InputXGradient()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    channels: Channels = "sum"

    def __post_init__(self) -> None:
        input_gradients.expect_choice("channels", self.channels, input_gradients.Channels)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        estimates = []
        for _, batch, result in introspect(box, images, targets, [IMAGE]):
            estimates += input_gradients.make_estimates(
                (batch - input_gradients.find_zero(box, batch)) * result.gradients[IMAGE], self.channels
            )
        return estimates
