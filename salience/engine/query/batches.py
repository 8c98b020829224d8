"""Passes dealt out in batches: the size that goes quickest, fewer where memory is short, counted, within the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from salience.engine.query import allocator, torch_threads
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.lots import find_lot, passes_alone
from salience.engine.query.run import Run, current
from salience.types import BlackBox

Answer = TypeVar("Answer")


class Batches:
    """The batches of one task of a box, in the run that is current.

    >>> from salience.boxes import toy
    >>> batches = Batches(toy.load("colour"), most=4)
    >>> [part for part, _ in batches.answers(6, lambda part: None)]
    [slice(0, 4, None), slice(4, 6, None)]
    """

    def __init__(self, box: BlackBox, task: str = "score", *, most: int | None = None) -> None:
        self.run = current.get() or Run()
        self.box, self.task = box, task
        self.most, self.done = most, 0
        self.find_size()
        self.last = 0.0  # when the scores of the previous batch arrived
        if passes_alone(box):
            self.run.one_thread = True
            torch_threads.use_one()
        if box.device.type == "cpu":
            allocator.keep_freed_memory()

    def find_size(self) -> None:
        """Take the size that suits the box in its present backend."""
        batch, self.lot = self.run.batch, find_lot(self.box)
        self.size = BatchSize.of(self.box, self.task) if batch is None else BatchSize(batch, fixed=True)

    def submit(
        self,
        count: int,
        ask: Callable[[slice], Answer],
        *,
        least: int | None = None,
        on_shortage: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[slice, Answer, float]]:
        """Submit `count` passes, part by part; yield each part, its answer, and when it was submitted.

        With `least` it ends when the budget does, and raises BudgetError when the time runs out before so many passes;
        without, all are made. Where memory is short batches become smaller, after `on_shortage`.
        """
        first = 0
        while first < count:
            room = count - first if least is None else self.run.room(count - first, self.done, least)
            if room == 0:
                return
            size = min(self.size.share(room, self.lot), self.most or room)
            part = slice(first, first + size)
            began = time.perf_counter()
            try:
                answer = ask(part)
            except (torch.OutOfMemoryError, MemoryError):
                on_shortage()
                self.size.halve(size)
                continue
            first += size
            self.done += size
            self.run.count(size)
            yield part, answer, began

    def answers(
        self, count: int, ask: Callable[[slice], Answer], *, least: int | None = None
    ) -> Iterator[tuple[slice, Answer]]:
        """Make `count` passes that are answered at once, and record how long they took."""
        for part, answer, began in self.submit(count, ask, least=least):
            self.record(part.stop - part.start, began)
            yield part, answer

    def record(self, size: int, began: float | None) -> None:
        """Record that a batch is done, and when it was submitted; None: some of its scores were cached."""
        now = time.perf_counter()
        if began is not None:
            self.size.record_time(size, now - max(began, self.last))
        self.last = now
