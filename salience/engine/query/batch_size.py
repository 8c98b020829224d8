"""How many images go into one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from statistics import median
from typing import ClassVar
from weakref import WeakKeyDictionary

from salience.errors import BoxError
from salience.types import AsyncBox, BlackBox

LARGEST = 256  # no batch grows beyond this
PIXELS = 5_000_000  # numbers of all images that a CPU is shown at once, where more gain little and take memory
BATCHES, SECONDS = 7, 0.1  # a size is judged by so many batches at least, and so long


class BatchSize:
    """Find the batch size with the least time per image, while working.

    Doubles as long as that pays; if it never pays, tries half its start once; then stays. Kept per box and backend, so
    a second image starts at the best size. What counts is the median of some batches after the first of their size, two
    and two: of two that are under way at once one seems slow and the next one quick.

    >>> size = BatchSize(64)
    >>> size.halve(64)
    >>> size.share(100), size.share(100, lot=4)  # four batches of equal size
    (25, 28)
    """

    _known: ClassVar[WeakKeyDictionary[BlackBox, dict[str, BatchSize]]] = WeakKeyDictionary()

    def __init__(self, start: int, largest: int = LARGEST, *, fixed: bool = False) -> None:
        self.size = self.start = self.best = start
        self.largest = largest
        self.settled = self.fixed = fixed
        self.fastest = float("inf")
        self.times: list[float] = []
        self.recent = deque[float](maxlen=BATCHES)  # seconds a pass, since the size was found

    @classmethod
    def of(cls, box: BlackBox, task: str = "score") -> BatchSize:
        """Return what was measured for this task of this box in its present backend."""
        start, most = 64, box.batch or LARGEST
        if box.device.type == "cpu":
            at_once = box.in_flight if isinstance(box, AsyncBox) else 1
            start = 8  # small batches stay in its cache
            most = max(1, min(most, PIXELS // (len(box.mean) * box.size[0] * box.size[1]) // at_once))
        first = cls(min(start, most), most)
        try:
            return cls._known.setdefault(box, {}).setdefault(f"{task} {box.backend}", first)
        except TypeError:  # a box that has no hash or takes no weak references is measured each time
            return first

    def share(self, many: int, lot: int = 1) -> int:
        """Say how many of `many` images to take next: once the size is found, batches of about equal size.

        All but the last are multiples of `lot`, unless batches are smaller than that.
        """
        most = max(self.size // lot, 1) * lot if self.size >= lot else self.size
        found = self.settled and not self.fixed
        equal = -(-many // -(-many // most)) if found else most
        return min(many, most, -(-equal // lot) * lot)

    def record_time(self, size: int, seconds: float) -> None:
        """Record a batch's time; after enough batches of a size choose the next size."""
        if self.settled and 2 * size > self.size:
            self.recent.append(seconds / size)
        if self.settled or size != self.size:
            return
        self.times.append(seconds / size)
        if len(self.times) < BATCHES or sum(self.times) * size < SECONDS:
            return
        typical, self.times = _find_typical(self.times[1:]), []
        if typical < 0.95 * self.fastest:
            self.fastest, self.best = typical, size
            if self.start <= size and 2 * size <= self.largest:
                self.size = 2 * size
                return
        elif size == 2 * self.start:
            self.size = max(1, self.start // 2)
            return
        self.size, self.settled = self.best, True

    @property
    def seconds(self) -> float | None:
        """The seconds of a pass, in the median of the last batches; None until there are some of the size that was found."""
        return _find_typical(self.recent) if len(self.recent) == BATCHES else None

    def halve(self, size: int) -> None:
        """Halve the size, for which there was not enough memory."""
        if size == 1:
            raise BoxError("expected memory for one image, got none: use a smaller box or another device")
        self.size = self.best = size // 2
        self.settled = True


def _find_typical(times: Iterable[float]) -> float:
    return median((one + other) / 2 for one, other in pairwise(times))
