"""The only loop that asks for scores: it batches, blends, counts, reports progress, keeps to the budget and can be left.

`whole` scores the image as it is, `each` scores it through masks. What may be spent, and who is told, is the business
of `running`, which a caller puts around a method; without it there is no bound and silence.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from salience.engine import masks as masking
from salience.engine import memory
from salience.engine import target as targets
from salience.engine.memo import Memo, remembering
from salience.engine.pace import Pace
from salience.engine.run import Progress, Run, current, plan, resumed, running
from salience.errors import BoxError, SalienceError, SettingError
from salience.types import BlackBox, Found, Image, Images, Masks, Probabilities, Scores, Target

__all__ = ["Progress", "Run", "asking", "each", "expect_between", "expect_finite", "last", "plan"]
__all__ += ["pictures", "remembering", "resumed", "running", "score", "settle", "whole"]

Lots = TypeVar("Lots", bound=masking.Lot)


def last(steps: Iterator[Found]) -> Found:
    """Run a sampler to its end and return what it found."""
    found = deque(steps, maxlen=1)
    if not found:
        raise SettingError("expected a sampler to yield at least once, got nothing: yield what was found at the end")
    return found[0]


def expect_between(
    name: str, value: float | None, low: float | None, high: float | None, *, open_ends: bool = False
) -> None:
    """Refuse a setting outside its range; None is for the method to decide on."""
    if value is None:
        return
    above = low is None or (value > low if open_ends else value >= low)
    below = high is None or (value < high if open_ends else value <= high)
    if not (above and below):
        sign = "<" if open_ends else "≤"
        span = f"{'' if low is None else f'{low:g} {sign} '}{name}{'' if high is None else f' {sign} {high:g}'}"
        raise SettingError(f"expected {span}, got {value:g}")


def whole(box: BlackBox, image: Image, target: Target) -> float:
    """Score the image as it is: one pass."""
    return float(targets.pick(target, score(box, image[None]))[0])


def each(
    box: BlackBox, image: Image, target: Target, lots: Iterable[Lots], fill: Image, *, least: int = 1
) -> Iterator[tuple[Lots, Masks, Scores]]:
    """Show the box the image through each mask; yield part of a lot, its masks drawn, and their scores.

    A masked image is fill + mask · (image − fill). Stops quietly when the budget is spent; raises BudgetError when
    the time runs out before `least` masks were scored. What is yielded is good until the next step: buffers are reused.
    """
    run = current.get() or Run()
    settle(box, image)
    ahead = image.to(box.device)
    behind = fill.to(ahead).expand_as(ahead).contiguous()
    pace = Pace.of(box) if run.batch is None else Pace(run.batch, fixed=True)
    memo = Memo(box, ahead, behind)
    asked = _Blend(box, ahead, behind)
    done = 0
    for lot in lots:
        begin = 0
        while begin < len(lot):
            size = min(pace.size, run.room(len(lot) - begin, done, least))
            if size == 0:
                return
            part = lot[begin : begin + size]
            began = time.perf_counter()
            try:
                drawn = part.draw(ahead)
                scores = targets.pick(target, memo.ask(part, drawn, asked))
            except (torch.OutOfMemoryError, MemoryError):
                asked.buffer = ahead.new_empty(0)
                pace.halve(size)
                continue
            if memo.known:
                run.count(memo.known)
            else:
                pace.took(size, time.perf_counter() - began)
            begin += size
            done += size
            yield part, drawn, scores


def pictures(box: BlackBox, images: Images, target: Target) -> Scores:
    """Score images that are ready, batch by batch: for perturbations that are no blend of two images."""
    run = current.get() or Run()
    settle(box, images[0])
    pace = Pace.of(box) if run.batch is None else Pace(run.batch, fixed=True)
    scores: list[Tensor] = []
    begin = 0
    while begin < len(images):
        part = images[begin : begin + pace.size].to(box.device)
        began = time.perf_counter()
        try:
            scores.append(targets.pick(target, score(box, part)))
        except (torch.OutOfMemoryError, MemoryError):
            pace.halve(len(part))
            continue
        pace.took(len(part), time.perf_counter() - began)
        begin += len(part)
    return torch.cat(scores)


class _Blend:
    """Show the box an image through masks, in a buffer that is used again."""

    def __init__(self, box: BlackBox, ahead: Image, behind: Image) -> None:
        self.box, self.ahead, self.behind, self.buffer = box, ahead, behind, ahead.new_empty(0)

    def __call__(self, drawn: Masks) -> Probabilities:
        if len(self.buffer) < len(drawn):
            self.buffer = self.ahead.new_empty(len(drawn), *self.ahead.shape)
        shown = self.buffer[: len(drawn)]
        torch.lerp(self.behind, self.ahead, drawn[:, None], out=shown)  # exact where the mask is 0 or 1
        return score(self.box, shown)


def score(box: BlackBox, images: Images) -> Probabilities:
    """Ask the box, count the passes, and check the answer. Every query of the library goes through here."""
    if box.device.type == "cpu":
        memory.keep()
    with asking(box, images):
        scores = box(images)
    if not isinstance(scores, torch.Tensor) or scores.shape != (len(images), len(box.classes)):
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise BoxError(
            f"expected {box.name} to return scores of shape ({len(images)}, {len(box.classes)}), got {got}: "
            "check the function or its class names"
        )
    expect_finite(box, scores)
    run = current.get()
    if run is not None:
        run.count(len(images))
    return scores


def expect_finite(box: BlackBox, scores: Tensor) -> None:
    """Refuse what is no number, before it becomes a map."""
    if not bool(torch.isfinite(scores).all()):
        raise BoxError(f"expected finite scores from {box.name}, got NaN or infinity: check its weights and precision")


def settle(box: BlackBox, image: Image) -> None:
    """Let a box that has faster lanes choose one, on this image in the clear and seen through a few masks."""
    choose = getattr(box, "settle", None)
    if choose is None or getattr(box, "settled", False):
        return
    size = (image.shape[-2], image.shape[-1])
    lot = next(masking.grids(15, size, 7, 0.5, seed=0))
    drawn = torch.cat([torch.ones(1, *size), lot.draw(image.float().cpu())])
    mean = torch.tensor(box.mean)[:, None, None]
    images = (mean + drawn[:, None] * (image.float().cpu() - mean)).to(box.device, image.dtype)
    began = time.monotonic()
    with asking(box, images):
        choose(images)
    run = current.get()
    if run is not None:  # done once for a box, so it is not the expense of a run that happens to be the first
        run.started += time.monotonic() - began


@contextmanager
def asking(box: BlackBox, images: Images) -> Iterator[None]:
    """Turn what a box raises into a BoxError; want of memory is for the caller to deal with."""
    try:
        yield
    except (SalienceError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as problem:
        shape = tuple(images.shape)
        raise BoxError(
            f"expected {box.name} to score images of shape {shape}, got {type(problem).__name__}: {problem}"
        ) from problem
