"""Gradients with respect to the pixels, of images and of changed copies of them: per unit of the pixels' own 0…1.

They are taken before the box's normalisation; the gradient at the network's own input is `std` times as large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine.inside.loop import expect_targets, introspect
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import Estimate
from salience.types import IMAGE, Image, Images, OpenBox, Target

Channels = Literal["max-abs", "sum-abs", "sum"]
"""How the channels become one value: the largest size, the sum of the sizes, or the sum, which keeps the sign."""

LOT = 256  # changed copies that exist at a time, of all images together
BLANK = "the image gets no gradient from the target, so the map is blank"


def expect_choice(name: str, value: str, choices: object) -> None:
    """Refuse a value that is none of a `Literal`.

    >>> expect_choice("channels", "mean", Channels)
    Traceback (most recent call last):
    salience.errors.SettingError: expected channels, one of max-abs, sum-abs, sum, got 'mean'
    """
    names = [str(choice) for choice in get_args(choices)]
    if value not in names:
        raise SettingError(f"expected {name}, one of {', '.join(names)}, got {value!r}")


def fold_channels(values: Float[Tensor, "n c h w"], channels: Channels) -> Float[Tensor, "n h w"]:
    """Reduce the channels to one map.

    >>> fold_channels(torch.tensor([1.0, -3.0, 0.5]).reshape(1, 3, 1, 1), "max-abs")
    tensor([[[3.]]])
    """
    if channels == "sum":
        return values.sum(1)
    return values.abs().amax(1) if channels == "max-abs" else values.abs().sum(1)


def make_estimates(values: Float[Tensor, "n c h w"], channels: Channels, passes: int | None = None) -> list[Estimate]:
    """Make an estimate of each, with a note where the map is blank.

    >>> make_estimates(torch.zeros(1, 3, 4, 4), "sum")[0].notes
    ('the image gets no gradient from the target, so the map is blank',)
    """
    blank = values.flatten(1).count_nonzero(1) == 0
    pairs = zip(fold_channels(values, channels), blank, strict=True)
    return [Estimate(each, notes=(BLANK,) if bool(empty) else (), passes=passes) for each, empty in pairs]


def find_zero(box: OpenBox, images: Images) -> Float[Tensor, "c 1 1"]:
    """Return the colour that is 0 at the network's input: the mean of its normalisation; black where it has none.

    >>> from salience.boxes import toy
    >>> find_zero(toy.load("colour"), toy.picture()[None]).flatten()
    tensor([0., 0., 0.])
    """
    return images.new_tensor(box.preparation.mean if box.preparation else box.mean)[:, None, None]


def sum_gradients(
    box: OpenBox,
    images: Images,
    targets: Sequence[Target],
    weights: Sequence[float],
    copy: Callable[[int, int], Image],
    *,
    square: bool = False,
) -> tuple[Float[Tensor, "m c h w"], Float[Tensor, "m k"]]:
    """Sum over k of weights[k] times the gradient, or its square, at copy k of each image; return the copies' scores too.

    `copy(i, k)` makes copy k of image i. Several targets of one image have each its own passes.

    >>> from salience.boxes import toy
    >>> image = toy.picture()[None]
    >>> sum_gradients(toy.load("colour"), image, [0], [0.5, 0.5], lambda i, k: image[i] * k)[0].shape
    torch.Size([1, 3, 32, 32])
    """
    expect_targets(box, images, targets)
    count, total = len(weights), len(weights) * len(targets)
    plan_passes(total, default=0, least=total, what=f"{total} changed copies")
    totals = images.new_zeros(len(targets), *images.shape[1:])
    scores = totals.new_zeros(len(targets), count)
    for start in range(0, total, LOT):
        lot = range(start, min(start + LOT, total))
        copies = torch.stack([copy(min(number // count, len(images) - 1), number % count) for number in lot])
        for part, _, result in introspect(box, copies, [targets[number // count] for number in lot], [IMAGE]):
            # one after another: the order of a sum must depend neither on batch size nor on device
            for number, gradient, score in zip(lot[part], result.gradients[IMAGE], result.scores, strict=True):
                totals[number // count] += weights[number % count] * (gradient.square() if square else gradient).to(totals)
                scores[number // count, number % count] = score
    return totals, scores
