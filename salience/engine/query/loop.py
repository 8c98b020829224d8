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

from salience.engine import target as targets
from salience.engine.perturb import masks as masking
from salience.engine.query import torch_threads
from salience.engine.query.ask import choose_backend, find_blending, score_batch, submit
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import Run, current
from salience.engine.query.score_cache import PendingScores, ScoreCache
from salience.errors import SalienceError, SettingError
from salience.types import BlackBox, Estimate, Image, Images, Masks, Scores, Target

Lots = TypeVar("Lots", bound=masking.Lot)
Step = TypeVar("Step")


def run_to_end(steps: Iterator[Estimate]) -> Estimate:
    """Run a sampler to its end and return what it found."""
    with torch_threads.scope():  # as in a run, for a method that is called by itself
        found = deque(steps, maxlen=1)
    if not found:
        raise SettingError("expected a sampler to yield at least once, got nothing: yield what was found at the end")
    return found[0]


def score_image(box: BlackBox, image: Image, target: Target) -> float:
    """Score the image as it is: one pass."""
    return float(targets.pick(target, score_batch(box, image[None].to(box.device)))[0])


def score_masked(
    box: BlackBox, image: Image, target: Target, lots: Iterable[Lots], fill: Image, *, least: int = 1
) -> Iterator[tuple[Lots, Masks, Scores]]:
    """Show the box the image through each mask; yield part of a lot, its masks drawn, and their scores.

    A masked image is fill + mask · (image − fill); a lot may add something of its own (`masks.Mixed`). Stops quietly when
    the budget is spent; raises BudgetError when the time runs out before `least` masks were scored. What is yielded is
    good until the next step: buffers are reused.
    Where the box computes apart, the next part is begun before the one ahead of it is yielded: what lots hold cannot depend
    on scores yielded here; who needs scores to choose what to ask next calls again.
    """
    choose_backend(box, image)
    ahead = image.to(box.device)
    asked = _MaskedQueries(box, ahead, fill.to(ahead).expand_as(ahead).contiguous(), least)
    before = 0.0  # when the scores before these were there
    try:
        parts = asked.parts(lots)
        for part, drawn, began in prefetch(parts) if getattr(box, "apart", False) else parts:
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


def prefetch(steps: Iterator[Step]) -> Iterator[Step]:
    """Take each step before the one ahead of it is given."""
    held = next(steps, None)
    while held is not None:
        following = next(steps, None)
        yield held
        held = following


def score_images(box: BlackBox, images: Images, target: Target) -> Scores:
    """Score images that are ready, batch by batch: for perturbations that are no blend of two images."""
    run = current.get() or Run()
    choose_backend(box, images[0])
    pace = BatchSize.of(box) if run.batch is None else BatchSize(run.batch, fixed=True)
    scores: list[Tensor] = []
    begin = 0
    while begin < len(images):
        part = images[begin : begin + pace.size].to(box.device)
        began = time.perf_counter()
        try:
            scores.append(targets.pick(target, score_batch(box, part)))
        except (torch.OutOfMemoryError, MemoryError):
            pace.halve(len(part))
            continue
        pace.took(len(part), time.perf_counter() - began)
        begin += len(part)
    return torch.cat(scores)


class _MaskedQueries:
    """Shows the box an image through masks, in two buffers that are used again in turn."""

    def __init__(self, box: BlackBox, ahead: Image, behind: Image, least: int) -> None:
        self.box, self.ahead, self.behind, self.least = box, ahead, behind, least
        self.run = current.get() or Run()
        self.pace = BatchSize.of(box) if self.run.batch is None else BatchSize(self.run.batch, fixed=True)
        self.memo = ScoreCache(box, ahead, behind)
        self.submit_blended = find_blending(box, ahead, behind)
        self.plain = ahead.new_ones(3, 1, 1), ahead.new_zeros(3, 1, 1)
        self.buffers = deque([ahead.new_empty(0), ahead.new_empty(0)])
        self.done = 0
        self.waited = deque[PendingScores]()  # what was begun

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
                    drawn = part.rasterise(self.ahead)
                    self.waited.append(self.memo.submit(part, drawn, self.submit))
                except (torch.OutOfMemoryError, MemoryError):
                    self.buffers = deque([self.ahead.new_empty(0), self.ahead.new_empty(0)])
                    self.pace.halve(size)
                    continue
                if self.memo.known:
                    self.run.count(self.memo.known)
                first += size
                self.done += size
                yield part, drawn, None if self.memo.known else began

    def submit(self, part: masking.Lot, drawn: Tensor) -> PendingScores:
        """Blend and begin to score; a box that blends by itself gets the masks."""
        paint = getattr(part, "paint", None)  # a `masks.Mixed`: to ask for its type takes longer
        if paint is None and self.submit_blended is not None:
            return submit(self.box, drawn, self.submit_blended)
        self.buffers.rotate()
        if len(self.buffers[0]) < len(drawn):
            self.buffers[0] = self.ahead.new_empty(len(drawn), *self.ahead.shape)
        shown = self.buffers[0][: len(drawn)]
        if paint is None:
            torch.lerp(self.behind, self.ahead, drawn[:, None], out=shown)  # exact where the mask is 0 or 1
        elif self.submit_blended is not None:
            return submit(self.box, drawn, partial(self.submit_blended, paint=partial(paint, shown)))
        else:
            paint(shown, *self.plain).addcmul_(drawn[:, None], self.ahead)
        return submit(self.box, shown)
