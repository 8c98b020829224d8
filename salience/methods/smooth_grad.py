"""SmoothGrad. Smilkov et al., SmoothGrad: Removing Noise by Adding Noise, 2017."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from typing_extensions import Doc

from salience.engine import seeding, validate
from salience.engine.inside import input_gradients
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Channels
from salience.types import Image, Images, OpenBox, Target


@dataclass(frozen=True)
class SmoothGrad(BatchedMethod):
    """The gradient, averaged over copies of the image with noise added: what varies from pixel to pixel averages out.

    saliency = max over channels of |mean over n copies of ∂logit / ∂(image + ε)|,   ε ~ N(0, σ²)

    σ is `noise` times the range of the image's values; the paper advises 0.1 to 0.2, and n = 50. Cost: n forward and
    backward passes. Every image sees the same noise, and the map does not depend on the batch size.

    Departs from the paper: noise is added to pixels in 0…1, before the box's normalisation, so it is alike in all
    channels. `square` is SmoothGrad² (Hooker et al. 2019): the mean of squared gradients.

    >>> from salience.boxes import toy
    >>> saliency = SmoothGrad(copies=10)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    copies: Annotated[int, Doc("n, how many noisy copies of the image are differentiated")] = 50
    noise: Annotated[float, Doc("standard deviation of the noise, as a share of the image's range of values")] = 0.15
    channels: Channels = "max-abs"
    square: Annotated[bool, Doc("average the squared gradients instead (SmoothGrad²)")] = False
    seed: Annotated[int, Doc("the same seed gives the same noise")] = 0

    def __post_init__(self) -> None:
        validate.expect_between("copies", self.copies, 1, None)
        validate.expect_between("noise", self.noise, 0, None)
        input_gradients.expect_choice("channels", self.channels, input_gradients.Channels)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        deviations = self.noise * (images.flatten(1).amax(1) - images.flatten(1).amin(1))

        def add_noise(number: int, copy: int) -> Image:
            noise = torch.randn(images.shape[1:], generator=seeding.generator(self.seed, "smooth-grad", copy))
            return images[number] + deviations[number] * noise.to(images)

        weights = [1 / self.copies] * self.copies
        gradients, _ = input_gradients.sum_gradients(box, images, targets, weights, add_noise, square=self.square)
        return input_gradients.make_estimates(gradients, self.channels, passes=self.copies)
