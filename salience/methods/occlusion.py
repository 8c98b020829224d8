"""Occlusion. Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from salience.engine import fill, masks, occlude, probe
from salience.types import BlackBox, Found, Image, Map, Target


@dataclass(frozen=True)
class Occlusion:
    """Hide one window at a time; a pixel matters as much as its windows cost the score.

    saliency[p] = mean over the windows w that hide p of score(image) − score(image without w)

    Departs from the paper: windows may overlap, a pixel takes their mean, and windows that reach over the border are
    clipped, so that every pixel is hidden equally often. The first windows cover the image coarsely and later ones
    refine it: a budget may end it at any moment after the first cover. Cost: one pass, and one a window.
    """

    window: int = 32  # side of the hidden square, in pixels
    stride: int = 8  # step between windows, in pixels
    fill: str = "mean"  # what hidden pixels show: mean, black, white, grey, blur, noise or 0…1
    seed: int = 0  # for the noise fill only

    def __post_init__(self) -> None:
        probe.expect_between("window", self.window, 1, None)
        probe.expect_between("stride", self.stride, 1, self.window)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return probe.last(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Found]:
        """Yield the running map, from the first whole cover on."""
        size = (image.shape[-2], image.shape[-1])
        order, cover = masks.coarse_first(size, self.window, self.stride)
        what = f"occlusion with window {self.window} and stride {self.stride}"
        probe.plan(len(order) + 1, default=0, least=cover + 1, what=what)
        whole = probe.whole(box, image, target)
        drops = occlude.Drops(size)
        behind = fill.of(self.fill, box, image, self.seed)
        step = max(cover, len(order) // 8)
        for part, _, scores in probe.each(box, image, target, [order], behind, least=cover):
            drops.add(part, whole - scores)
            if drops.count >= cover and drops.count // step > (drops.count - len(part)) // step:
                yield drops.found()
        yield drops.found()
