"""The loop for methods that read layers and gradients: it batches, counts, reports progress and keeps to the budget.

What `query.loop.score_masked` is for scores, it is for activations and gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.engine.inside.hooks import find_layer_name
from salience.engine.query.ask import expect_finite, guard
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.batches import Batches
from salience.engine.query.lots import find_lot, is_watched
from salience.engine.query.run import Run, current, plan_passes
from salience.engine.query.score_cache import share_scores
from salience.engine.target import pick
from salience.errors import SettingError
from salience.types import (
    ActivationsAndGradients,
    BlackBox,
    Features,
    GreyBox,
    Images,
    OpenBox,
    Scale,
    Target,
    TrainableBox,
)

MOST = 64  # images that are differentiated at a time: all their activations are in memory

Answer = TypeVar("Answer")


def introspect(
    box: OpenBox,
    images: Images,
    targets: Sequence[Target],
    layers: Sequence[str],
    of: Scale = "logit",
    *,
    most: int = MOST,
) -> Iterator[tuple[slice, Images, ActivationsAndGradients]]:
    """Read layers and gradients for each image and its target, batch by batch; one image with several targets is one batch.

    Counts one pass an image. Raises BudgetError when the budget does not allow all.

    >>> from salience.boxes import toy
    >>> for part, _, result in introspect(toy.load("colour"), toy.picture()[None], [0], ["detect"]):
    ...     print(part, result.gradients["detect"].shape)
    slice(0, 1, None) torch.Size([1, 3, 32, 32])
    """
    expect_fitting(images, targets)
    plan_passes(len(images), default=0, least=len(images), what=f"{len(images)} images")
    one_image = len(images) == 1

    def run_part(part: slice) -> tuple[Images, ActivationsAndGradients]:
        batch = images[part].to(box.device)
        with guard(box, batch):
            result = box.differentiate(batch, targets if one_image else targets[part], layers, of)
        expect_finite(box, result.logits)
        return batch, result

    most = min(most, find_lot(box)) if is_watched() and find_lot(box) > 1 else most  # who watches counts the passes of a lot
    for part, (batch, result) in Batches(box, "gradients", most=most).answers(len(images), run_part):
        yield slice(0, len(targets)) if one_image else part, batch, result


def read_activations(box: GreyBox, images: Images, layers: Sequence[str]) -> dict[str, Features]:
    """Read the named layers: one pass an image.

    >>> from salience.boxes import toy
    >>> read_activations(toy.load("colour"), toy.picture()[None], ["detect"])["detect"].shape
    torch.Size([1, 3, 32, 32])
    """

    def run_part(part: slice) -> dict[str, Features]:
        with guard(box, images[part]):
            activations = box.activations(images[part].to(box.device), layers)
        for each in activations.values():
            expect_finite(box, each)
        return activations

    parts = [activations for _, activations in Batches(box, "activations", most=MOST).answers(len(images), run_part)]
    return parts[0] if len(parts) == 1 else {layer: torch.cat([each[layer] for each in parts]) for layer in layers}


def score_replaced(
    box: GreyBox,
    image: Float[Tensor, "1 c h w"],
    targets: Sequence[Target],
    layer: str,
    features: Callable[[slice], Features],
    count: int,
) -> Float[Tensor, "t m"]:
    """Score one image for each target with its activations at the layer replaced, `count` times: one pass each.

    `features` makes the replacements, part by part. Raises BudgetError when the budget does not allow all.

    >>> from salience.boxes import toy
    >>> box, image = toy.load("colour"), toy.picture()[None]
    >>> score_replaced(box, image, [0, 1], "detect", lambda part: torch.zeros(part.stop - part.start, 3, 32, 32), 2)
    tensor([[0.3333, 0.3333],
            [0.3333, 0.3333]])
    """
    plan_passes(count, default=0, least=count, what=f"the {count} changes of the features at {layer}")
    run, batch = current.get() or Run(), image.to(box.device)

    def run_part(part: slice) -> Float[Tensor, "t n"]:
        run.room(1, part.start, count)  # raises when the time is spent
        changed = features(part)
        with guard(box, batch):
            scores = box.forward_from(batch, layer, changed)
        expect_finite(box, scores)
        return torch.stack([pick(target, scores) for target in targets])

    batches = Batches(box, f"forward from {layer}", most=MOST)
    if batches.lot > 1:  # a batch says how many images; what comes before the layer would be computed for each few of these
        batches.size = BatchSize(min(MOST, box.batch or MOST), fixed=True)
    return torch.cat([scores for _, scores in batches.answers(count, run_part)], dim=1)


def iterate_images(
    box: GreyBox, images: Images, targets: Sequence[Target]
) -> Iterator[tuple[Float[Tensor, "1 c h w"], Sequence[Target]]]:
    """Yield the images one by one, each with its target; one image may have several.

    >>> from salience.boxes import toy
    >>> [len(own) for _, own in iterate_images(toy.load("colour"), toy.picture()[None], [0, 1])]
    [2]
    """
    expect_targets(box, images, targets)
    for number in range(len(images)):
        yield images[number : number + 1], targets if len(images) == 1 else targets[number : number + 1]


def expect_targets(box: BlackBox, images: Images, targets: Sequence[Target]) -> None:
    """Refuse targets that do not fit the images, and classes that the box does not have, before a pass is spent.

    >>> from salience.boxes import toy
    >>> expect_targets(toy.load("colour"), toy.picture()[None], [7])
    Traceback (most recent call last):
    salience.errors.TargetError: expected a class from 0 to 2, got 7
    """
    expect_fitting(images, targets)
    for target in targets:
        if not callable(target):
            pick(target, torch.zeros(1, len(box.classes)))


def expect_fitting(images: Images, targets: Sequence[Target]) -> None:
    """Refuse targets that are neither one an image nor all of one image.

    >>> expect_fitting(torch.ones(2, 3, 8, 8), [0, 1, 2])
    Traceback (most recent call last):
    salience.errors.SettingError: expected one target an image, or several for one image, got 3 for 2
    """
    if len(targets) != len(images) and len(images) != 1:
        raise SettingError(f"expected one target an image, or several for one image, got {len(targets)} for {len(images)}")


def share_scores_of_targets(images: Images, targets: Sequence[Target]) -> AbstractContextManager[None]:
    """Share scores where one image has several targets.

    >>> with share_scores_of_targets(torch.ones(1, 3, 8, 8), [0, 1]):
    ...     pass  # an image that is scored twice here costs one pass
    """
    return share_scores() if len(targets) > len(images) else nullcontext()


def list_layers(box: GreyBox, images: Images) -> tuple[str, ...]:
    """Name the end of each block of the box.

    >>> from salience.boxes import toy
    >>> list_layers(toy.load("colour"), toy.picture()[None])
    ('act',)
    """
    with guard(box, images):
        return box.layers()


def name_layer(box: GreyBox, layer: str | nn.Module) -> str:
    """Return the name of a layer that is given by its name, or as a module of the box's network.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour")
    >>> name_layer(box, box.module.act)
    'act'
    """
    if isinstance(layer, str):
        return layer.strip()
    if not isinstance(box, TrainableBox):
        raise SettingError(f"expected the name of a layer of {box.name}, got {type(layer).__name__}: give its name")
    return find_layer_name(box.module, layer)


def choose_layers(box: GreyBox, images: Images, given: Any) -> tuple[str, ...]:
    """Return the layers of those names, in a text with commas between or in a list; without, the end of each block.

    >>> from salience.boxes import toy
    >>> choose_layers(toy.load("colour"), toy.picture()[None], "detect, act")
    ('detect', 'act')
    """
    if given is None:
        return list_layers(box, images)
    names = given.split(",") if isinstance(given, str) else given if isinstance(given, (list, tuple)) else [given]
    return tuple(name_layer(box, each) for each in names)


def choose_layer(box: GreyBox, images: Images, name: Any) -> str:
    """Return the layer of that name, or that is that module; without, the end of the last block.

    >>> from salience.boxes import toy
    >>> choose_layer(toy.load("colour"), toy.picture()[None], None)
    'act'
    """
    return list_layers(box, images)[-1] if name in (None, "") else name_layer(box, name)
