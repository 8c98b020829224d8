"""Gradient. Simonyan, Vedaldi and Zisserman, Deep Inside Convolutional Networks: Visualising … Saliency Maps, 2014."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine.inside import input_gradients
from salience.engine.inside.loop import introspect
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Channels
from salience.types import IMAGE, Images, OpenBox, Target


@dataclass(frozen=True)
class Gradient(BatchedMethod):
    """A pixel matters as much as the class's logit would move with it.

    saliency = max over channels of |∂logit / ∂pixel|

    Pixels are in 0…1, before the box's normalisation. Cost: one forward pass and one backward pass.

    Departs from the paper: in nothing, with `channels="max-abs"`. An absolute value has no sign: evidence against the class
    is high too. `sum` keeps the sign, which then says whether brighter is better there, not whether the pixel helps.

    >>> from salience.boxes import toy
    >>> saliency = Gradient()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    channels: Channels = "max-abs"

    def __post_init__(self) -> None:
        input_gradients.expect_choice("channels", self.channels, input_gradients.Channels)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        estimates = []
        for _, _, result in introspect(box, images, targets, [IMAGE]):
            estimates += input_gradients.make_estimates(result.gradients[IMAGE], self.channels)
        return estimates
