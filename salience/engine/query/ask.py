"""Query a box: every query goes through here. What the box raises becomes a BoxError, and its scores are checked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from salience.engine.perturb import masks as masking
from salience.engine.query import allocator, torch_threads
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import current
from salience.errors import BoxError, SalienceError, catch_exit, describe
from salience.types import AsyncBox, BackendBox, BlackBox, BlendingBox, Image, Images, Masks, PendingScores, Probabilities

AGAIN = "chosen anew because"
SLOWER, WORTH = 1.5, 1e-3  # times as slow as promised; seconds a pass, of which rasterising a mask is a small part


def score_batch(box: BlackBox, images: Images) -> Probabilities:
    """Score one batch: counted, its scores checked.

    >>> from salience.boxes import toy
    >>> score_batch(toy.load("colour"), toy.picture(colour=2)[None]).argmax(1)
    tensor([2])
    """
    scores = submit(box, images, partial(_score_now, box))()
    run = current.get()
    if run is not None:
        run.count(len(images))
    return scores


def submit(box: BlackBox, shown: Images | Masks, ask: Callable[[Any], PendingScores] | None = None) -> PendingScores:
    """Submit a batch to the box, by `ask` if that is given; what is returned waits for the scores and checks them.

    >>> from salience.boxes import toy
    >>> pending = submit(toy.load("colour"), toy.picture()[None])
    >>> pending().shape
    torch.Size([1, 3])
    """
    if box.device.type == "cpu":
        allocator.keep_freed_memory()
    with guard(box, shown):
        pending = (ask or (box.submit if isinstance(box, AsyncBox) else partial(_score_now, box)))(shown)
    torch_threads.follow_others()

    def wait() -> Probabilities:
        with guard(box, shown):
            scores = pending()
        if not isinstance(scores, torch.Tensor) or scores.shape != (len(shown), len(box.classes)):
            got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
            raise BoxError(
                f"expected {box.name} to return scores of shape ({len(shown)}, {len(box.classes)}), got {got}: "
                "check the function or its class names"
            )
        if scores.is_meta or scores.layout != torch.strided:
            raise BoxError(f"expected numbers as scores from {box.name}, got a meta or sparse tensor: return a dense one")
        expect_finite(box, scores)
        return scores

    return wait


def _score_now(box: BlackBox, images: Images) -> PendingScores:
    scores = box(images)
    return lambda: scores


def find_blending(box: BlackBox, image: Image, baseline: Image) -> Callable[..., PendingScores] | None:
    """Return what submits masks for blends of two images, where the box blends by itself.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour", backend="exact")
    >>> find_blending(box, toy.picture(), torch.zeros(3, 32, 32)) is None  # torch blends outside the network
    True
    """
    if not isinstance(box, BlendingBox):
        return None
    with guard(box, image[None]):
        return box.submit_blended(image, baseline)


def expect_finite(box: BlackBox, scores: Tensor) -> None:
    """Refuse what is no number, before it becomes a map.

    >>> from salience.boxes import toy
    >>> expect_finite(toy.load("colour"), torch.tensor([[0.5, float("nan"), 0.5]]))
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected finite scores from toy:colour, got NaN or infinity: check its weights and precision
    """
    if not math.isfinite(scores.sum(dtype=torch.float32)):  # quicker than each by itself
        raise BoxError(f"expected finite scores from {box.name}, got NaN or infinity: check its weights and precision")


def choose_backend(box: BlackBox, image: Image) -> None:
    """Let a box that has faster backends choose one, on this image and on some masked copies of it; or leave one.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour", backend="exact")
    >>> choose_backend(box, toy.picture())  # a backend was named, so there is nothing to choose
    >>> box.backend
    'exact'
    """
    if not isinstance(box, BackendBox):
        return
    run = current.get()
    if run is None or not any(each is box for each in run.checked):
        box.check_weights()
        if run is not None:
            run.checked.append(box)
    if not box.backend_chosen:
        _choose(box, image, anew=False)
    else:
        choose_again(box, image)


def choose_again(box: BlackBox, image: Image) -> bool:
    """Let a box choose once more whose passes take much longer than was promised; say whether its backend is another now.

    >>> from salience.boxes import toy
    >>> choose_again(toy.load("colour"), toy.picture())  # no speed was promised
    False
    """
    broken = find_broken_promise(box) if isinstance(box, BackendBox) and box.backend_chosen else None
    if not isinstance(box, BackendBox) or broken is None:
        return False
    before = box.backend
    _choose(box, image, anew=True)
    box.check = {**box.check, AGAIN: broken}
    return box.backend != before


def _choose(box: BackendBox, image: Image, *, anew: bool) -> None:
    size = (image.shape[-2], image.shape[-1])
    lot = next(masking.sample_grids(15, size, 7, 0.5, seed=0))
    masks = torch.cat([torch.ones(1, *size), lot.rasterise(image.float().cpu())])
    mean = torch.tensor(box.mean)[:, None, None]
    images = (mean + masks[:, None] * (image.float().cpu() - mean)).to(box.device, image.dtype)
    run, began = current.get(), time.monotonic()
    with guard(box, images):
        box.choose_backend(images, anew=anew)
    if run is not None:  # done once for a box, so it is not the expense of a run that happens to be the first
        run.started += time.monotonic() - began


def find_broken_promise(box: BackendBox) -> str | None:
    """Say how much slower passes are than when the backend was chosen; None if they are not, or that was asked before.

    >>> from salience.boxes import toy
    >>> find_broken_promise(toy.load("colour")) is None  # no speed was promised
    True
    """
    run, promised = current.get(), box.check.get("passes a second")
    of_another = box.backend not in ("exact", box.check.get("backend"))
    if promised is None or of_another or AGAIN in box.check or (run is not None and run.batch is not None):
        return None
    seconds = BatchSize.of(box).seconds
    if seconds is None or seconds < WORTH or seconds * promised < SLOWER:
        return None
    return f"{box.backend} made {1 / seconds:.0f} passes a second where {promised:.0f} were promised"


@contextmanager
def guard(box: BlackBox, shown: Images | Masks) -> Iterator[None]:
    """Turn what a box raises into a BoxError; a shortage of memory is left to the caller.

    >>> from salience.boxes import toy
    >>> with guard(toy.load("colour"), toy.picture()[None]):
    ...     raise ValueError("no weights")
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected toy:colour to score images of shape (1, 3, 32, 32), got ValueError: no weights
    """
    try:
        with catch_exit(box.name):
            yield
    except (SalienceError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as problem:
        shape = tuple(shown.shape)
        raise BoxError(f"expected {box.name} to score images of shape {shape}, got {describe(problem)}") from problem
