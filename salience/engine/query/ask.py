"""How a box is asked: every query of the library goes through here. It is counted, and the answer is checked."""

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
from salience.engine.query.run import current
from salience.engine.query.score_cache import PendingScores
from salience.errors import BoxError, SalienceError
from salience.types import BlackBox, Image, Images, Masks, Probabilities


def score_batch(box: BlackBox, images: Images) -> Probabilities:
    """Ask the box, count the passes, and check the answer."""
    return submit(box, images, partial(score_now, box))()


def score_now(box: BlackBox, images: Images) -> PendingScores:
    """Score at once what could be waited for."""
    scores = box(images)
    return lambda: scores


def submit(box: BlackBox, shown: Images | Masks, ask: Callable[[Any], PendingScores] | None = None) -> PendingScores:
    """Ask the box, by `ask` if that is given, and count the passes; what is returned waits for the answer and checks it."""
    if box.device.type == "cpu":
        allocator.keep_freed_memory()
    with guard(box, shown):
        waited: PendingScores = (ask or (box.submit if getattr(box, "apart", False) else partial(score_now, box)))(shown)  # type: ignore[attr-defined]
    torch_threads.follow_others()
    run = current.get()
    if run is not None:
        run.count(len(shown))

    def checked() -> Probabilities:
        with guard(box, shown):
            found = waited()
        if not isinstance(found, torch.Tensor) or found.shape != (len(shown), len(box.classes)):
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise BoxError(
                f"expected {box.name} to return scores of shape ({len(shown)}, {len(box.classes)}), got {got}: "
                "check the function or its class names"
            )
        expect_finite(box, found)
        return found

    return checked


def find_blending(box: BlackBox, ahead: Image, behind: Image) -> Callable[..., PendingScores] | None:
    """Return what begins to score the blends of two images by masks, where the box blends by itself."""
    blends = getattr(box, "submit_blended", None)
    with guard(box, ahead[None]):
        return blends and blends(ahead, behind)


def expect_finite(box: BlackBox, scores: Tensor) -> None:
    """Refuse what is no number, before it becomes a map."""
    if not math.isfinite(scores.sum(dtype=torch.float32)):  # quicker than each by itself
        raise BoxError(f"expected finite scores from {box.name}, got NaN or infinity: check its weights and precision")


def choose_backend(box: BlackBox, image: Image) -> None:
    """Let a box that has faster backends choose one, on this image and on some masked copies of it; or leave one."""
    run = current.get()
    if hasattr(box, "check_weights") and (run is None or id(box) not in run.renewed):
        box.check_weights()
        if run is not None:
            run.renewed.add(id(box))
    choose = getattr(box, "choose_backend", None)
    if choose is None or getattr(box, "backend_chosen", False):
        return
    size = (image.shape[-2], image.shape[-1])
    lot = next(masking.sample_grids(15, size, 7, 0.5, seed=0))
    drawn = torch.cat([torch.ones(1, *size), lot.rasterise(image.float().cpu())])
    mean = torch.tensor(box.mean)[:, None, None]
    images = (mean + drawn[:, None] * (image.float().cpu() - mean)).to(box.device, image.dtype)
    began = time.monotonic()
    with guard(box, images):
        choose(images)
    if run is not None:  # done once for a box, so it is not the expense of a run that happens to be the first
        run.started += time.monotonic() - began


@contextmanager
def guard(box: BlackBox, shown: Images | Masks) -> Iterator[None]:
    """Turn what a box raises into a BoxError; want of memory is for the caller to deal with."""
    try:
        yield
    except (SalienceError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as problem:
        shape = tuple(shown.shape)
        raise BoxError(
            f"expected {box.name} to score images of shape {shape}, got {type(problem).__name__}: {problem}"
        ) from problem
