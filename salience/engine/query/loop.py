"""The only loop that queries boxes: it blends, submits batches, and yields scores in order; it can be left at any step.

`score_image` scores the image as it is, `score_masked` scores it through masks, `score_images` scores images that are ready.
Budget and progress are the business of `start_run`, which a caller puts around a method.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from salience.engine import target as targets
from salience.engine.perturb import masks as masking
from salience.engine.query import torch_threads
from salience.engine.query.ask import choose_again, choose_backend, find_blending, score_batch, submit
from salience.engine.query.batches import Batches
from salience.engine.query.score_cache import ScoreCache
from salience.errors import SalienceError, SettingError
from salience.estimates import Estimate
from salience.types import AsyncBox, BlackBox, Image, Images, Masks, PendingScores, Scores, Target

Lots = TypeVar("Lots", bound=masking.Lot)


def run_to_end(steps: Iterator[Estimate]) -> Estimate:
    """Run a sampler to its end and return its last estimate.

    >>> run_to_end(iter([Estimate(torch.zeros(1, 2)), Estimate(torch.ones(1, 2))])).saliency
    tensor([[1., 1.]])
    """
    with torch_threads.allow_limit():  # as in a run, for a method that is called by itself
        last = deque(steps, maxlen=1)
    if not last:
        raise SettingError("expected a sampler to yield at least once, got nothing: yield the estimate at the end")
    return last[0]


def score_image(box: BlackBox, image: Image, target: Target) -> float:
    """Score the image as it is: one pass.

    >>> from salience.boxes import toy
    >>> round(score_image(toy.load("colour"), toy.picture(), 0), 2)
    0.86
    """
    return float(targets.pick(target, score_batch(box, image[None].to(box.device)))[0])


def score_images(box: BlackBox, images: Images, target: Target) -> Scores:
    """Score images that are ready, batch by batch: for perturbations that are no blend of two images.

    >>> from salience.boxes import toy
    >>> images = torch.stack([toy.picture(colour=0), toy.picture(colour=2)])
    >>> score_images(toy.load("colour"), images, 0) > 0.5
    tensor([ True, False])
    """
    choose_backend(box, images[0])

    def ask(part: slice) -> Scores:
        return targets.pick(target, submit(box, images[part].to(box.device))())

    return torch.cat([scores for _, scores in Batches(box).answers(len(images), ask)])


@dataclass
class _Batch(Generic[Lots]):
    """A part of a lot whose scores are under way."""

    part: Lots
    masks: Masks
    pending: PendingScores
    submitted: float | None  # when; None where some of the scores were remembered


def score_masked(
    box: BlackBox, image: Image, target: Target, lots: Iterable[Lots], baseline: Image, *, least: int = 1
) -> Iterator[tuple[Lots, Masks, Scores]]:
    """Show the box the image through each mask; yield part of a lot, its masks, and their scores.

    A masked image is baseline + mask · (image − baseline); a lot may add something of its own (`masks.Mixed`). Stops quietly
    when the budget is spent; raises BudgetError when the time runs out before `least` masks were scored. What is yielded is
    good until the next step: buffers are reused.
    With an `AsyncBox` further parts are submitted before the first one is yielded: what lots hold cannot depend on scores
    yielded here; who needs scores to choose what to ask next calls again.

    >>> from salience.boxes import toy
    >>> image, lots = toy.picture(), masking.sample_grids(20, (32, 32), 7, 0.5, seed=0)
    >>> scored = score_masked(toy.load("colour"), image, 0, lots, torch.zeros(3, 32, 32))
    >>> sum(len(scores) for lot, masks, scores in scored)
    20
    """
    choose_backend(box, image)
    image = image.to(box.device)
    baseline = baseline.to(image).expand_as(image).contiguous()
    batches, buffers = Batches(box), max(2, box.in_flight if isinstance(box, AsyncBox) else 1)
    under_way = deque[_Batch[Lots]]()
    try:
        for batch in _Blender(box, image, baseline, batches, buffers).submit_all(lots, least):
            under_way.append(batch)
            while len(under_way) >= (min(buffers, box.in_flight) if isinstance(box, AsyncBox) else 1):
                yield from _wait(under_way, target, batches)
        while under_way:
            yield from _wait(under_way, target, batches)
    finally:
        for batch in under_way:  # it was left while the box reads buffers that nobody holds any more
            with suppress(SalienceError):
                batch.pending()


def _wait(under_way: deque[_Batch[Lots]], target: Target, batches: Batches) -> Iterator[tuple[Lots, Masks, Scores]]:
    batch = under_way.popleft()
    scores = targets.pick(target, batch.pending())
    batches.record(len(batch.part), batch.submitted)
    if batches.lot == 1:
        yield batch.part, batch.masks, scores
        return
    for start in range(0, len(scores), batches.lot):  # sums are then the same for any batch
        share = slice(start, start + batches.lot)
        yield batch.part[share], batch.masks[share], scores[share]


class _Blender:
    """Submits an image seen through masks, in buffers that are used again in turn."""

    def __init__(self, box: BlackBox, image: Image, baseline: Image, batches: Batches, buffers: int) -> None:
        self.box, self.image, self.baseline, self.batches = box, image, baseline, batches
        self.find_ways()
        self.plain = image.new_ones(len(image), 1, 1), image.new_zeros(len(image), 1, 1)
        self.buffers = deque([image.new_empty(0)] * buffers)

    def find_ways(self) -> None:
        """Find how the box is queried in its present backend."""
        self.cache = ScoreCache(self.box, self.image, self.baseline)
        self.submit_blended = find_blending(self.box, self.image, self.baseline)

    def submit_all(self, lots: Iterable[Lots], least: int) -> Iterator[_Batch[Lots]]:
        """Submit part after part, until the budget is spent."""
        for lot in lots:
            if choose_again(self.box, self.image):
                self.batches.find_size()
                self.find_ways()

            def ask(share: slice, lot: Lots = lot) -> tuple[Lots, Masks, PendingScores]:
                part = lot[share]
                masks = part.rasterise(self.image)
                return part, masks, self.cache.submit(part, masks, self.submit)

            scored = 0
            for share, answer, began in self.batches.submit(len(lot), ask, least=least, on_shortage=self.free):
                scored = share.stop
                yield _Batch(*answer, None if self.cache.known else began)
            if scored < len(lot):
                return

    def free(self) -> None:
        """Give the buffers back."""
        self.buffers = deque([self.image.new_empty(0)] * len(self.buffers))

    def submit(self, part: masking.Lot, masks: Tensor) -> PendingScores:
        """Blend and submit; a box that blends by itself gets the masks."""
        mixed = part if isinstance(part, masking.Mixed) else None
        if mixed is None and self.submit_blended is not None:
            return submit(self.box, masks, self.submit_blended)
        self.buffers.rotate()
        if len(self.buffers[0]) < len(masks):
            self.buffers[0] = self.image.new_empty(len(masks), *self.image.shape)
        images = self.buffers[0][: len(masks)]
        if mixed is None:
            torch.lerp(self.baseline, self.image, masks[:, None], out=images)  # exact where the mask is 0 or 1
        elif self.submit_blended is not None:
            return submit(self.box, masks, partial(self.submit_blended, paint=partial(mixed.paint, images)))
        else:
            mixed.paint(images, *self.plain).addcmul_(masks[:, None], self.image)
        return submit(self.box, images)
