"""The only loop that asks for scores: it batches, blends, counts, reports progress, keeps to the budget and can be left.

`whole` scores the image as it is, `each` scores it through masks. What may be spent, and who is told, is the business
of `running`, which a caller puts around a method; without it there is no bound and silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch

from salience.engine import masks as masking
from salience.engine import target as targets
from salience.engine.budget import Budget
from salience.errors import BoxError, BudgetError, SalienceError, SettingError
from salience.types import BlackBox, Found, Image, Images, Masks, Probabilities, Scores, Target

Lots = TypeVar("Lots", bound=masking.Lot)
LARGEST = 256  # no batch grows beyond this
Progress = Callable[[int, int | None], None]
"""Called with the passes made so far and how many are expected, None when only time bounds them."""


@dataclass
class Run:
    """What has been spent, and what may be."""

    budget: Budget = field(default_factory=Budget)
    batch: int | None = None  # None: found out for this box on this machine
    progress: Progress | None = None
    passes: int = 0
    expected: int | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int | None:
        """Passes that may still be made; None without a bound."""
        return None if self.budget.passes is None else max(0, self.budget.passes - self.passes)

    @property
    def late(self) -> bool:
        """Whether the time is spent."""
        return self.budget.seconds is not None and time.monotonic() - self.started >= self.budget.seconds

    def count(self, passes: int) -> None:
        """Note passes that were made."""
        self.passes += passes
        if self.progress is not None:
            self.progress(self.passes, self.expected)


_current: ContextVar[Run | None] = ContextVar("salience_run", default=None)


@contextmanager
def running(
    budget: Budget | str | float | None = None, batch: int | None = None, progress: Progress | None = None
) -> Iterator[Run]:
    """Bound and watch all passes made inside. Do not suspend a generator across its end: use `resumed` for that."""
    with resumed(Run(Budget.of(budget), batch, progress)) as run:
        yield run


@contextmanager
def resumed(run: Run) -> Iterator[Run]:
    """Make `run` the current one; a generator that is suspended between steps puts this around each step."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


def last(steps: Iterator[Found]) -> Found:
    """Run a sampler to its end and return what it found."""
    found = None
    for found in steps:
        pass
    if found is None:
        raise SettingError("expected a sampler to yield at least once, got nothing: yield what was found at the end")
    return found


def expect_between(name: str, value: float | None, low: float | None, high: float | None, *, open_ends: bool = False) -> None:
    """Refuse a setting outside its range; None is for the method to decide on."""
    if value is None:
        return
    above = low is None or (value > low if open_ends else value >= low)
    below = high is None or (value < high if open_ends else value <= high)
    if not (above and below):
        sign = "<" if open_ends else "≤"
        span = f"{'' if low is None else f'{low:g} {sign} '}{name}{'' if high is None else f' {sign} {high:g}'}"
        raise SettingError(f"expected {span}, got {value:g}")


def plan(asked: int | None, default: int, least: int, what: str) -> int:
    """Decide how many masks a sampler draws: `asked`; else all that the budget allows; else `default`.

    Raises BudgetError when the budget does not even allow `least`.
    """
    run = _current.get() or Run()
    if run.left is not None and run.left < least:
        raise BudgetError(
            f"expected a budget of at least {least + run.passes} passes for {what}, got {run.budget}: raise the budget"
        )
    if asked is None:
        asked = run.left if run.left is not None else default if run.budget.seconds is None else 2**31
    allowed = asked if run.left is None else min(asked, run.left)
    run.expected = None if allowed == 2**31 else run.passes + allowed
    return allowed


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
    run = _current.get() or Run()
    settle(box, image)
    ahead = image.to(box.device)
    behind = fill.to(ahead).expand_as(ahead).contiguous()
    change = (ahead - behind).contiguous()
    pace = Pace.of(box) if run.batch is None else Pace(run.batch, fixed=True)
    buffer = ahead.new_empty(0)
    done = 0
    for lot in lots:
        begin = 0
        while begin < len(lot):
            room = len(lot) - begin if run.left is None else min(run.left, len(lot) - begin)
            if room == 0 or (run.late and done >= least):
                return
            if run.late:
                raise BudgetError(
                    f"expected time for at least {least} passes, got {run.budget}, which allowed {done}: raise the budget"
                )
            size = min(pace.size, room)
            part = lot[begin : begin + size]
            began = time.perf_counter()
            drawn = part.draw(ahead)
            if len(buffer) < size:
                buffer = ahead.new_empty(size, *ahead.shape)
            torch.addcmul(behind, drawn[:, None], change, out=buffer[:size])
            try:
                scores = targets.pick(target, score(box, buffer[:size]))
            except (torch.OutOfMemoryError, MemoryError):
                buffer = ahead.new_empty(0)
                pace.halve(size)
                continue
            pace.took(size, time.perf_counter() - began)
            begin += size
            done += size
            yield part, drawn, scores


def score(box: BlackBox, images: Images) -> Probabilities:
    """Ask the box, count the passes, and check the answer. Every query of the library goes through here."""
    try:
        scores = box(images)
    except (SalienceError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as problem:
        shape = tuple(images.shape)
        raise BoxError(
            f"expected {box.name} to score images of shape {shape}, got {type(problem).__name__}: {problem}"
        ) from problem
    if not isinstance(scores, torch.Tensor) or scores.shape != (len(images), len(box.classes)):
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise BoxError(
            f"expected {box.name} to return scores of shape ({len(images)}, {len(box.classes)}), got {got}: "
            "check the function or its class names"
        )
    if not bool(torch.isfinite(scores).all()):
        raise BoxError(f"expected finite scores from {box.name}, got NaN or infinity: check its weights and precision")
    run = _current.get()
    if run is not None:
        run.count(len(images))
    return scores


def settle(box: BlackBox, image: Image) -> None:
    """Let a box that has faster lanes choose one, on this image in the clear and seen through a few masks."""
    choose = getattr(box, "settle", None)
    if choose is None:
        return
    lot = next(masking.grids(15, box.size, 7, 0.5, seed=0))
    drawn = torch.cat([torch.ones(1, *box.size), lot.draw(image.float().cpu())])
    mean = torch.tensor(box.mean)[:, None, None]
    choose((mean + drawn[:, None] * (image.float().cpu() - mean)).to(box.device, image.dtype))


class Pace:
    """Find the batch size with the least time per image, while working.

    Doubles as long as that pays; if it never pays, looks once below its start; then stays. Kept per box and lane, so
    a second image starts at the best size.
    """

    _known: WeakKeyDictionary[BlackBox, dict[str, Pace]] = WeakKeyDictionary()

    def __init__(self, start: int, *, fixed: bool = False) -> None:
        self.size = self.start = self.best = start
        self.settled = fixed
        self.fastest = float("inf")
        self.times: list[float] = []

    @classmethod
    def of(cls, box: BlackBox) -> Pace:
        """Return what is known of this box in its present lane."""
        start = 8 if box.device.type == "cpu" else 64  # small batches stay in a CPU's cache
        return cls._known.setdefault(box, {}).setdefault(box.lane, cls(start))

    def took(self, size: int, seconds: float) -> None:
        """Note a batch's time; after three batches of a size decide on the next."""
        if self.settled or size != self.size:
            return
        self.times.append(seconds / size)
        if len(self.times) < 3:
            return
        quickest, self.times = min(self.times), []
        if quickest < 0.95 * self.fastest:
            self.fastest, self.best = quickest, size
            if self.start <= size < LARGEST:
                self.size = 2 * size
                return
        elif size == 2 * self.start:
            self.size = max(1, self.start // 2)
            return
        self.size, self.settled = self.best, True

    def halve(self, size: int) -> None:
        """Not enough memory for `size`."""
        if size == 1:
            raise BoxError("expected memory for one image, got none: use a smaller box or another device")
        self.size = self.best = size // 2
        self.settled = True
