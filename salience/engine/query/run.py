"""What a run has spent and may spend, its progress callback, and the current run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch

from salience import limits
from salience.engine.query import torch_threads
from salience.engine.query.budget import Budget
from salience.errors import BoxError, BudgetError
from salience.types import BlackBox

Progress = Callable[[int, int | None], None]
"""Called with the passes made so far and how many are expected, None when only time bounds them."""


@dataclass
class Run:
    """What has been spent, and what may be.

    >>> run = Run(Budget.of("100 passes"))
    >>> run.count(30)
    >>> run.left
    70
    """

    budget: Budget = field(default_factory=Budget)
    batch: int | None = None  # None: found out for this box on this machine
    progress: Progress | None = None
    patience: float | None = None  # seconds after which to stop where the budget gives none; refuses nothing
    cut_short: bool = False  # whether the patience ended it
    passes: int = 0
    expected: int | None = None
    started: float = field(default_factory=time.monotonic)
    one_thread: bool = False  # whether torch computes on one thread throughout
    checked: list[BlackBox] = field(default_factory=list)  # the boxes whose weights were checked

    def __post_init__(self) -> None:
        if self.batch is not None:
            limits.expect_number("batch", self.batch, 1, limits.BATCH, whole=True)

    @property
    def left(self) -> int | None:
        """Passes that may still be made; None without a bound."""
        return None if self.budget.passes is None else max(0, self.budget.passes - self.passes)

    @property
    def late(self) -> bool:
        """Whether the time is spent."""
        seconds = self.patience if self.budget.seconds is None else self.budget.seconds
        return seconds is not None and time.monotonic() - self.started >= seconds

    def room(self, wanted: int, done: int, least: int) -> int:
        """Return how many of `wanted` passes may follow the `done`; BudgetError if a budget's time ends before the least."""
        late, bound = self.late, self.budget.seconds is not None
        if self.left == 0 or (late and done >= least):
            self.cut_short = late and not bound
            return 0
        if late and bound:
            raise BudgetError(
                f"expected time for at least {least} passes, got {self.budget}, which allowed {done}: raise the budget"
            )
        return wanted if self.left is None else min(self.left, wanted)

    def count(self, passes: int) -> None:
        """Note passes that were made."""
        self.passes += passes
        if self.progress is not None:
            self.progress(self.passes, self.expected)


current: ContextVar[Run | None] = ContextVar("salience_run", default=None)


@contextmanager
def start_run(
    budget: Budget | str | float | None = None, batch: int | None = None, progress: Progress | None = None
) -> Iterator[Run]:
    """Bound and watch all passes made inside. Do not suspend a generator across its end: use `resume_run` for that.

    >>> from salience.boxes import toy
    >>> from salience.engine.query import loop
    >>> with start_run(budget=100) as run:
    ...     score = loop.score_image(toy.load("colour"), toy.picture(), 0)
    >>> run.passes
    1
    """
    with resume_run(Run(Budget.of(budget), batch, progress)) as run:
        yield run


@contextmanager
def resume_run(run: Run) -> Iterator[Run]:
    """Make `run` the current one; a generator that is suspended between steps puts this around each step.

    >>> run = Run(batch=4)
    >>> with resume_run(run):
    ...     print(current.get() is run)
    True
    """
    token = current.set(run)
    try:
        with torch_threads.allow_limit():
            if run.one_thread:
                torch_threads.use_one()
            yield run
    except (torch.OutOfMemoryError, MemoryError) as problem:  # also of the smallest batch
        raise BoxError(
            "expected memory for the box and its images, got none left: use a smaller box or picture"
        ) from problem
    finally:
        current.reset(token)


def plan_passes(asked: int | None, default: int, least: int, what: str) -> int:
    """Decide how many masks to sample: `asked`; else all that the budget allows; else `default`.

    Raises BudgetError when the budget does not even allow `least`.

    >>> with start_run(budget=100):
    ...     print(plan_passes(None, 4000, 10, "rise"))
    100
    """
    run = current.get() or Run()
    if run.left is not None and run.left < least:
        raise BudgetError(
            f"expected a budget of at least {least + run.passes} passes for {what}, got {run.budget}: raise the budget"
        )
    if asked is None:
        asked = run.left if run.left is not None else default if run.budget.seconds is None else 2**31
    allowed = asked if run.left is None else min(asked, run.left)
    run.expected = None if allowed == 2**31 else run.passes + allowed
    return allowed
