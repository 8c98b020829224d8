"""The batch size that is found while working."""

from __future__ import annotations

import gc

import pytest

from salience.boxes import toy
from salience.engine.query.batch_size import BATCHES, LARGEST, BatchSize
from salience.errors import BoxError


def settled(seconds: object, start: int = 8) -> int:
    """Feed fake times until the pace stays."""
    pace = BatchSize(start)
    for _ in range(100):
        pace.record_time(pace.size, seconds(pace.size))
    assert pace.settled
    return pace.size


def test_it_doubles_as_long_as_that_pays() -> None:
    """A fixed cost a call is spread over more images, until 64, where the cost an image rises."""
    assert settled(lambda size: 1 + size * (0.1 if size <= 64 else 0.3)) == 64


def test_it_looks_once_below_its_start() -> None:
    """Where larger batches fall out of the cache, four may be quicker than eight."""
    assert settled(lambda size: size * (1 if size >= 8 else 0.5)) == 4
    assert settled(lambda size: float(size)) == 8


def test_it_never_grows_beyond_the_largest() -> None:
    """Memory must not grow with the number of masks."""
    assert settled(lambda size: 1.0) == LARGEST


@pytest.mark.parametrize(
    ("side", "in_flight", "start", "largest"),
    [(32, 1, 8, 256), (224, 1, 8, 32), (224, 2, 8, 16), (600, 1, 4, 4), (4000, 2, 1, 1)],
)
def test_on_a_cpu_batches_of_large_images_stay_small(
    side: int, in_flight: int, start: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or memory would grow where speed does not; of an asynchronous box two batches are there at once."""
    box = toy.load("colour", size=side)
    monkeypatch.setattr(type(box), "in_flight", in_flight)
    pace = BatchSize.of(box)
    assert pace.size == start
    for _ in range(200):
        pace.record_time(pace.size, 1.0)
    assert (pace.size, pace.settled) == (largest, True)


def test_the_median_after_the_first_batch_decides() -> None:
    """Neither what a size costs once nor a hiccup of the machine must settle it, nor one batch that seems quick."""
    pace = BatchSize(8)
    for size in (8, 16):
        for seconds in (100.0, *([float(size)] * (BATCHES - 2)), 0.1):
            pace.record_time(size, seconds)
        assert pace.fastest == 1.0
    assert pace.size == 4
    uneven = BatchSize(8)
    for seconds in (100.0, 8.0, 8.0, 16.0, 8.0, 8.0, 8.0):
        uneven.record_time(8, seconds)
    assert uneven.fastest == 1.0


def test_of_two_batches_under_way_at_once_both_count() -> None:
    """One waits for the other's work too, and the next one is there soon after."""
    pace = BatchSize(8)
    for seconds in (0.03, *([0.012, 0.004] * 4), 0.012):
        pace.record_time(8, seconds)
    assert (pace.fastest, pace.size) == (pytest.approx(0.001), 16)


def test_quick_batches_are_watched_for_a_while() -> None:
    """Seven of a millisecond say little."""
    pace = BatchSize(8)
    for _ in range(BATCHES):
        pace.record_time(8, 0.001)
    assert pace.size == 8
    for _ in range(100):
        pace.record_time(8, 0.001)
    assert pace.size == 16


def test_batches_of_a_size_that_was_found_are_about_as_large() -> None:
    """Twenty are ten and ten, not sixteen and four; who names a size gets it."""
    pace = BatchSize(16)
    assert pace.share(20) == 16
    pace.settled = True
    assert (pace.share(20), pace.share(16), pace.share(33), pace.share(3)) == (10, 16, 11, 3)
    assert BatchSize(16, fixed=True).share(20) == 16


def test_other_sizes_do_not_count() -> None:
    """The last, shorter batch of a lot says nothing about the size."""
    pace = BatchSize(8)
    for _ in range(9):
        pace.record_time(3, 0.001)
    assert pace.times == []


def test_want_of_memory_halves_it_for_good() -> None:
    """Growing again would fail again."""
    pace = BatchSize(64)
    pace.halve(64)
    pace.record_time(32, 1e-9)
    assert (pace.size, pace.settled) == (32, True)
    with pytest.raises(BoxError, match="expected memory for one image, got none"):
        pace.halve(1)


def test_it_is_remembered_for_each_box_and_backend_while_the_box_lives() -> None:
    """A second image starts at the best size; a box that is gone is forgotten."""
    box = toy.load("colour")
    first = BatchSize.of(box)
    assert BatchSize.of(box) is first
    box.backend = "torch channels-last"
    assert BatchSize.of(box) is not first
    known = len(BatchSize._known)
    del box, first
    gc.collect()
    assert len(BatchSize._known) == known - 1
