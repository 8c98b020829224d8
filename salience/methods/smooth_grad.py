"""SmoothGrad. Smilkov et al., SmoothGrad: Removing Noise by Adding Noise, 2017."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from salience.engine import chance, look, pixels, probe
from salience.types import Found, Image, Images, OpenBox, Target


@dataclass(frozen=True)
class SmoothGrad(look.Looks):
    """The gradient, averaged over copies of the image with noise added: what flickers from pixel to pixel goes out.

    saliency = max over channels of |mean over n copies of ∂logit / ∂(image + ε)|,   ε ~ N(0, σ²)

    σ is `noise` times the range of the image's values; the paper advises 0.1 to 0.2, and n = 50. Cost: n forward and
    backward passes. Every image sees the same noise, and the map does not depend on the batch size.

    Departs from the paper: noise is added to pixels in 0…1, before the box's normalisation, so it is alike in all
    channels. `square` is SmoothGrad² (Hooker et al. 2019): the mean of squared gradients.
    """

    copies: int = 50  # n, how many noisy copies of the image are differentiated
    noise: float = 0.15  # standard deviation of the noise, as a share of the image's range of values
    channels: pixels.Channels = "max-abs"  # how three channels become one: max-abs, sum-abs or sum
    square: bool = False  # average the squared gradients instead (SmoothGrad²)
    seed: int = 0  # the same seed gives the same noise

    def __post_init__(self) -> None:
        probe.expect_between("copies", self.copies, 1, None)
        probe.expect_between("noise", self.noise, 0, None)
        pixels.expect("channels", self.channels, pixels.Channels)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Found]:
        """Explain each image for its target; one image may have several targets."""
        deviations = self.noise * (images.flatten(1).amax(1) - images.flatten(1).amin(1))

        def noisy(number: int, copy: int) -> Image:
            drawn = torch.randn(images.shape[1:], generator=chance.generator(self.seed, "smooth-grad", copy))
            return images[number] + deviations[number] * drawn.to(images)

        weights = [1 / self.copies] * self.copies
        slopes, _ = pixels.summed(box, images, targets, weights, noisy, square=self.square)
        return pixels.found(slopes, self.channels, passes=self.copies)
