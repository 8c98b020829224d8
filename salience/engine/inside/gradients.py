"""Differentiate a score with respect to the image and to inner layers, without side effects on the module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from salience.engine.inside.hooks import NO_GRADIENTS, Recorded, expect_maps, expect_ran, record_activations
from salience.engine.target import pick
from salience.errors import NoGradientsError, SettingError
from salience.types import IMAGE, ActivationsAndGradients, Images, Probabilities, Target


def run_whole(work: Callable[[slice], ActivationsAndGradients], count: int) -> list[ActivationsAndGradients]:
    """Let work be done for all images together.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour")
    >>> len(run_whole(lambda part: box.differentiate(toy.picture()[None][part], [0], ["act"]), 1))
    1
    """
    return [work(slice(0, count))]


def differentiate(
    module: nn.Module,
    logits: Callable[[Images], Probabilities],
    scale: Callable[[Probabilities], Probabilities],
    images: Images,
    wanted: Sequence[Target] | None,
    layers: Sequence[str],
    run_parts: Callable[[Callable[[slice], ActivationsAndGradients], int], list[ActivationsAndGradients]] = run_whole,
) -> ActivationsAndGradients:
    """Run once, keep what the layers put out, and differentiate each image's score with respect to them.

    `logits` must push images through `module`; `run_parts` deals out parts of the images; `scale` turns logits into what
    the target is picked from. One image may have several targets: it runs forward once, and backward once a target. The
    layer "image" is the image itself. `torch.autograd.grad` writes to no `.grad`, and nothing that lies before the first
    layer is differentiated.

    >>> from salience.boxes import toy
    >>> box, images = toy.load("colour"), toy.picture()[None]
    >>> result = differentiate(box.module, box.logits, lambda logits: logits, images, [0, 1], ["image", "detect"])
    >>> {layer: gradients.shape for layer, gradients in result.gradients.items()}
    {'image': torch.Size([2, 3, 32, 32]), 'detect': torch.Size([2, 3, 32, 32])}
    """
    expect_targets(wanted, len(images))
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        replace_inference_weights(module),
        record_activations(module, [layer for layer in layers if layer != IMAGE], gradients=True) as recorded,
    ):

        def differentiate_part(part: slice) -> ActivationsAndGradients:
            own = wanted if wanted is None or len(images) == 1 else wanted[part]
            recorded.clear()
            return _differentiate(logits, scale, images[part], own, layers, recorded)

        return join_batches(run_parts(differentiate_part, len(images)))


def _differentiate(
    logits: Callable[[Images], Probabilities],
    scale: Callable[[Probabilities], Probabilities],
    images: Images,
    wanted: Sequence[Target] | None,
    layers: Sequence[str],
    recorded: Recorded,
) -> ActivationsAndGradients:
    """Differentiate one part, forward and backward."""
    with torch.set_grad_enabled(IMAGE in layers):
        leaf = images.detach().clone().requires_grad_(IMAGE in layers)
        raw = logits(leaf)
        tensors = [expect_ran(layer, leaf if layer == IMAGE else recorded.get(layer)) for layer in layers]
        chosen = _choose_targets(raw, wanted)
        scores = _pick_scores(chosen, scale(raw))
        sums = [scores.sum()] if len(images) == len(chosen) else list(scores)
        if not raw.requires_grad:
            expect_gradients(logits, images)
        rows = [_differentiate_score(score, tensors, last=score is sums[-1]) for score in sums]
    filled = [_fill_missing(x, each) for x, each in zip(tensors, zip(*rows, strict=True), strict=True)]
    size = (images.shape[-2], images.shape[-1])
    activations, gradients = (
        {layer: x if layer == IMAGE else expect_maps(layer, x, size) for layer, x in zip(layers, group, strict=True)}
        for group in ([x.detach() for x in tensors], filled)
    )
    return ActivationsAndGradients(tuple(chosen), scores.detach(), raw.detach(), activations, gradients)


def join_batches(parts: Sequence[ActivationsAndGradients]) -> ActivationsAndGradients:
    """Put the results of batches of images below each other.

    >>> from salience.boxes import toy
    >>> result = toy.load("colour").differentiate(toy.picture()[None], [0], ["act"])
    >>> join_batches([result, result]).gradients["act"].shape
    torch.Size([2, 3, 32, 32])
    """
    if len(parts) == 1:
        return parts[0]
    layers = list(parts[0].activations)
    return ActivationsAndGradients(
        tuple(target for part in parts for target in part.targets),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.logits for part in parts]),
        {layer: torch.cat([part.activations[layer] for part in parts]) for layer in layers},
        {layer: torch.cat([part.gradients[layer] for part in parts]) for layer in layers},
    )


def expect_targets(wanted: Sequence[Target] | None, count: int) -> None:
    """Refuse targets that are not as many as images, unless there is one image.

    >>> expect_targets([0, 1], 3)
    Traceback (most recent call last):
    salience.errors.SettingError: expected one target an image, or several for one image, got 2 for 3
    """
    if wanted is not None and len(wanted) != count and count != 1:
        raise SettingError(f"expected one target an image, or several for one image, got {len(wanted)} for {count}")


def _choose_targets(raw: Probabilities, wanted: Sequence[Target] | None) -> list[Target]:
    return [int(k) for k in raw.detach().argmax(1)] if wanted is None else list(wanted)


@contextmanager
def replace_inference_weights(module: nn.Module) -> Iterator[None]:
    """Give a module that was made in inference mode ordinary weights meanwhile: autograd does not keep the others.

    >>> with torch.inference_mode():
    ...     module = nn.Linear(2, 1)
    >>> with replace_inference_weights(module):
    ...     print(module.weight.is_inference())
    False
    """
    lent: list[tuple[dict[str, Any], str, Tensor]] = [
        (values, name, each)
        for inner in module.modules()
        for values in (inner._parameters, inner._buffers)  # noqa: SLF001  # setting an attribute would register
        for name, each in values.items()
        if each is not None and each.is_inference()
    ]
    copies = {id(each): _copy_weight(each) for _, _, each in lent}  # tied weights stay tied
    try:
        for values, name, each in lent:
            values[name] = copies[id(each)]
        yield
    finally:
        for values, name, each in lent:
            values[name] = each


def _copy_weight(value: Tensor) -> Tensor:
    with torch.inference_mode(False):
        return nn.Parameter(value.clone(), requires_grad=False) if isinstance(value, nn.Parameter) else value.clone()


def expect_gradients(logits: Callable[[Images], Probabilities], images: Images) -> None:
    """Refuse a network that gives no gradients.

    >>> expect_gradients(lambda images: images.detach().mean((2, 3)), torch.ones(1, 3, 8, 8))
    Traceback (most recent call last):
    salience.errors.NoGradientsError: expected a network that gives gradients, got scores that torch cannot differentiate ...
    """
    with torch.inference_mode(False), torch.enable_grad():
        if not logits(images[:1].detach().clone().requires_grad_()).requires_grad:
            raise NoGradientsError(NO_GRADIENTS)


def _differentiate_score(score: Tensor, tensors: Sequence[Tensor], *, last: bool) -> Sequence[Tensor | None]:
    if not score.requires_grad:  # none of the layers has to do with it
        return [None] * len(tensors)
    return compute_gradients(score, tensors, retain_graph=not last)


def compute_gradients(score: Tensor, tensors: Sequence[Tensor], *, retain_graph: bool = False) -> tuple[Tensor | None, ...]:
    """Differentiate a score with respect to tensors; None where it does not depend on one.

    >>> x = torch.ones(2, requires_grad=True)
    >>> compute_gradients((3 * x).sum(), [x])
    (tensor([3., 3.]),)
    """
    try:
        return torch.autograd.grad(score, tensors, retain_graph=retain_graph, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as problem:  # what torch raises where there is no derivative, or a tensor was written to in place
        raise NoGradientsError(NO_GRADIENTS) from problem


def _fill_missing(tensor: Tensor, gradients: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([torch.zeros_like(tensor) if each is None else each for each in gradients])


def _pick_scores(chosen: Sequence[Target], scaled: Probabilities) -> Tensor:
    rows = scaled.expand(len(chosen), -1) if len(scaled) == 1 else scaled
    return torch.cat([pick(target, row[None]) for target, row in zip(chosen, rows, strict=True)])
