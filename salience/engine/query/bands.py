"""What each band of an image is worth: how far the score falls when it shows the box's mean instead."""

from __future__ import annotations

import torch

from salience.engine.perturb import fill
from salience.engine.query import loop
from salience.types import BlackBox, Image, Region, Scores, Target


def score_without_bands(box: BlackBox, image: Image, target: Target, where: Region) -> Scores:
    """Score the image with one band after the other hidden inside a region: a pass a band.

    >>> from salience.boxes import toy
    >>> image = torch.tensor([0.9, 0.3, 0.0])[:, None, None].expand(3, 2, 2)
    >>> score_without_bands(toy.linear(torch.ones(2, 2) / 4), image, 1, torch.ones(2, 2, dtype=torch.bool))
    tensor([0.1000, 0.3000, 0.4000])
    """
    mean = fill.make_fill("mean", box, image)
    hidden = image.expand(len(image), *image.shape).clone()
    for band, one in enumerate(hidden):
        one[band] = torch.where(where.to(image.device), mean[band], image[band])
    return loop.score_images(box, hidden, target)
