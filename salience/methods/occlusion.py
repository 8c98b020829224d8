"""Occlusion. Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from salience.engine import validate
from salience.engine.estimate import occlusion
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.estimates import Estimate
from salience.methods._settings import Fill, SeedOfFill
from salience.types import BlackBox, Image, Map, Target


@dataclass(frozen=True)
class Occlusion:
    """Hide one window at a time; a pixel matters as much as its windows cost the score.

    saliency[p] = mean over the windows w that hide p of score(image) − score(image without w)

    Departs from the paper: windows may overlap, a pixel takes their mean, and windows that reach over the border are
    clipped, so that every pixel is hidden equally often. The first windows cover the image coarsely and later ones
    refine it: a budget may end it at any moment after the first cover. Cost: one pass, and one a window.

    >>> from salience.boxes import toy
    >>> saliency = Occlusion(window=8, stride=4)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    window: Annotated[int, Doc("side of the hidden square, in pixels")] = 32
    stride: Annotated[int, Doc("step between windows, in pixels")] = 8
    fill: Fill = "mean"
    seed: SeedOfFill = 0

    def __post_init__(self) -> None:
        validate.expect_between("window", self.window, 1, None)
        validate.expect_between("stride", self.stride, 1, self.window)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running map, from the first whole cover on."""
        size = (image.shape[-2], image.shape[-1])
        order, cover = masks.order_windows(size, self.window, self.stride)
        what = f"occlusion with window {self.window} and stride {self.stride}"
        plan_passes(len(order) + 1, default=0, least=cover + 1, what=what)
        image_score = loop.score_image(box, image, target)
        drops = occlusion.OcclusionEstimate(size)
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        step = max(cover, len(order) // 8)
        for part, _, scores in loop.score_masked(box, image, target, [order], baseline, least=cover):
            drops.add(part, image_score - scores)
            if drops.count >= cover and masks.completes_lot(drops.count, len(part), step):
                yield drops.estimate()
        yield drops.estimate()
