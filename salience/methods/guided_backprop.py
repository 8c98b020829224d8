"""Guided backpropagation. Springenberg et al., Striving for Simplicity: The All Convolutional Net, ICLR workshop 2015."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine.inside import input_gradients
from salience.engine.inside.loop import introspect
from salience.errors import BoxError
from salience.estimates import BatchedMethod, Estimate
from salience.methods import _guided_relu
from salience.methods._settings import Channels
from salience.types import IMAGE, Images, OpenBox, Target


@dataclass(frozen=True)
class GuidedBackprop(BatchedMethod):
    """The gradient, but at every ReLU only what raises the score goes on: sharp outlines of what excites the network.

    saliency = max over channels of |R⁰|,   Rˡ = [fˡ > 0] · [Rˡ⁺¹ > 0] · Rˡ⁺¹ at each ReLU f

    Needs a network with ReLUs (ReLU6 and clamping at 0 among them). Pixels are in 0…1, before the box's
    normalisation. Cost: one forward pass and one backward pass.

    A known limit: the map shows edges of the picture more than it explains the class, and hardly changes when the
    weights of the last layers are randomised (Adebayo et al., Sanity Checks for Saliency Maps, 2018).

    Departs from the paper: three channels become one; the paper shows the map in colour.

    >>> from salience.boxes import toy
    >>> saliency = GuidedBackprop()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    channels: Channels = "max-abs"

    def __post_init__(self) -> None:
        input_gradients.expect_choice("channels", self.channels, input_gradients.Channels)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        estimates = []
        with _guided_relu.GuidedRelu() as relus:
            for _, _, result in introspect(box, images, targets, [IMAGE]):
                if relus.count == 0:
                    raise BoxError(
                        f"expected a network with ReLUs for guided backprop, got none in {box.name}: "
                        "use gradient or smooth-grad"
                    )
                estimates += input_gradients.make_estimates(result.gradients[IMAGE], self.channels)
        return estimates
