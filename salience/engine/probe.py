"""The only loop that asks for scores: it batches, blends, counts, reports progress, keeps to the budget and can be left.

`whole` scores the image as it is, `each` scores it through masks. What may be spent, and who is told, is the business
of `running`, which a caller puts around a method; without it there is no bound and silence.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from salience.engine import masks as masking
from salience.engine import target as targets
from salience.engine import threads
from salience.engine.memo import Memo, Waited, remembering
from salience.engine.pace import Pace
from salience.engine.query import asking, begin, expect_finite, score, settle, through
from salience.engine.run import Progress, Run, current, plan, resumed, running
from salience.errors import SalienceError, SettingError
from salience.types import BlackBox, Found, Image, Images, Masks, Scores, Target

__all__ = ["Progress", "Run", "asking", "each", "expect_between", "expect_finite", "last", "plan"]
__all__ += ["pictures", "remembering", "resumed", "running", "score", "settle", "whole"]

Lots = TypeVar("Lots", bound=masking.Lot)
Step = TypeVar("Step")


def last(steps: Iterator[Found]) -> Found:
    """Run a sampler to its end and return what it found."""
    with threads.scope():  # as in a run, for a method that is called by itself
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
    return float(targets.pick(target, score(box, image[None].to(box.device)))[0])


def each(
    box: BlackBox, image: Image, target: Target, lots: Iterable[Lots], fill: Image, *, least: int = 1
) -> Iterator[tuple[Lots, Masks, Scores]]:
    """Show the box the image through each mask; yield part of a lot, its masks drawn, and their scores.

    A masked image is fill + mask · (image − fill); a lot may add something of its own (`masks.Mixed`). Stops quietly when
    the budget is spent; raises BudgetError when the time runs out before `least` masks were scored. What is yielded is
    good until the next step: buffers are reused.
    Where the box computes apart, the next part is begun before the one ahead of it is yielded: what lots hold cannot depend
    on scores yielded here; who needs scores to choose what to ask next calls again.
    """
    settle(box, image)
    ahead = image.to(box.device)
    asked = _Asked(box, ahead, fill.to(ahead).expand_as(ahead).contiguous(), least)
    before = 0.0  # when the scores before these were there
    try:
        parts = asked.parts(lots)
        for part, drawn, began in early(parts) if getattr(box, "apart", False) else parts:
            scores = targets.pick(target, asked.waited.popleft()())
            now = time.perf_counter()
            if began is not None:
                asked.pace.took(len(part), now - max(began, before))
            before = now
            yield part, drawn, scores
    finally:
        for waited in asked.waited:  # it was left while the box was at work on buffers that nobody holds then
            with suppress(SalienceError):
                waited()


def early(steps: Iterator[Step]) -> Iterator[Step]:
    """Take each step before the one ahead of it is given."""
    held = next(steps, None)
    while held is not None:
        following = next(steps, None)
        yield held
        held = following


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


class _Asked:
    """Shows the box an image through masks, in two buffers that are used again in turn."""

    def __init__(self, box: BlackBox, ahead: Image, behind: Image, least: int) -> None:
        self.box, self.ahead, self.behind, self.least = box, ahead, behind, least
        self.run = current.get() or Run()
        self.pace = Pace.of(box) if self.run.batch is None else Pace(self.run.batch, fixed=True)
        self.memo = Memo(box, ahead, behind)
        self.through = through(box, ahead, behind)
        self.plain = ahead.new_ones(3, 1, 1), ahead.new_zeros(3, 1, 1)
        self.buffers = deque([ahead.new_empty(0), ahead.new_empty(0)])
        self.done = 0
        self.waited = deque[Waited]()  # what was begun

    def parts(self, lots: Iterable[Lots]) -> Iterator[tuple[Lots, Masks, float | None]]:
        """Begin part after part; yield it, its masks, and when it was begun, None where some answers were known."""
        for lot in lots:
            first = 0
            while first < len(lot):
                room = self.run.room(len(lot) - first, self.done, self.least)
                if room == 0:
                    return
                size = self.pace.share(room)
                part = lot[first : first + size]
                began = time.perf_counter()
                try:
                    drawn = part.draw(self.ahead)
                    self.waited.append(self.memo.begin(part, drawn, self.begin))
                except (torch.OutOfMemoryError, MemoryError):
                    self.buffers = deque([self.ahead.new_empty(0), self.ahead.new_empty(0)])
                    self.pace.halve(size)
                    continue
                if self.memo.known:
                    self.run.count(self.memo.known)
                first += size
                self.done += size
                yield part, drawn, None if self.memo.known else began

    def begin(self, part: masking.Lot, drawn: Tensor) -> Waited:
        """Blend and begin to score; a box that blends by itself gets the masks."""
        paint = getattr(part, "paint", None)  # a `masks.Mixed`: to ask for its type takes longer
        if paint is None and self.through is not None:
            return begin(self.box, drawn, self.through)
        self.buffers.rotate()
        if len(self.buffers[0]) < len(drawn):
            self.buffers[0] = self.ahead.new_empty(len(drawn), *self.ahead.shape)
        shown = self.buffers[0][: len(drawn)]
        if paint is None:
            torch.lerp(self.behind, self.ahead, drawn[:, None], out=shown)  # exact where the mask is 0 or 1
        elif self.through is not None:
            return begin(self.box, drawn, partial(self.through, paint=partial(paint, shown)))
        else:
            paint(shown, *self.plain).addcmul_(drawn[:, None], self.ahead)
        return begin(self.box, shown)
