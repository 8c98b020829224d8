"""Boxes that compute beside Python: the next batch is made meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from salience.engine.perturb import masks
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BoxError
from salience.types import AsyncBox, Images, Probabilities
from tests.helpers import Asked, brightness, noise

IMAGE = noise(3, 8, 8, dtype=torch.float32)
FILL = torch.zeros(3, 8, 8)
LOT = masks.FullMasks(noise(20, 8, 8, seed=1, dtype=torch.float32))


class Slow(Asked, AsyncBox):
    """Notes when it is asked and when it is waited for; reads the images as late as it may."""

    def __init__(self, rule: Callable[[Images], Probabilities] = brightness) -> None:
        super().__init__(rule)
        self.events: list[str] = []

    def score(self, images: Images) -> Probabilities:
        """Answer."""
        self.batches.append(len(images))
        return self.answer(images)

    def submit(self, images: Images) -> Callable[[], Probabilities]:
        """Begin, and answer later."""
        number = sum(word.startswith("begin") for word in self.events)
        self.events.append(f"begin {number}")

        def waited() -> Probabilities:
            self.events.append(f"wait {number}")
            return self.score(images)

        return waited


def test_scores_are_those_of_a_box_that_answers_at_once() -> None:
    """The buffer of a batch is left alone until its scores are there."""
    for batch in (3, 7, 20):
        with start_run(batch=batch):
            slow, quick = (
                torch.cat([y.clone() for _, _, y in loop.score_masked(box, IMAGE, 1, [LOT, LOT], FILL)])
                for box in (Slow(), Asked(brightness))
            )
        assert torch.equal(slow, quick)


def test_a_batch_is_begun_before_the_one_before_is_waited_for() -> None:
    """In a lot, and from one lot to the next, which is asked for when it is needed."""
    box = Slow()
    seen: list[int] = []

    def lots() -> object:
        for _ in range(2):
            seen.append(len(box.events))
            yield LOT[:9]

    with start_run(batch=3) as run:
        list(loop.score_masked(box, IMAGE, 1, lots(), FILL))  # type: ignore[arg-type]
    rest = [f"{word} {number + (word == 'begin')}" for number in range(5) for word in ("begin", "wait")]
    assert box.events == ["begin 0", *rest, "wait 5"]
    assert seen == [0, 5]
    assert run.passes == 18


def test_the_budget_is_kept_to_with_a_batch_under_way() -> None:
    """Passes count when they are begun."""
    box = Slow()
    with start_run(8, batch=3) as run:
        assert sum(len(part) for part, _, _ in loop.score_masked(box, IMAGE, 1, [LOT], FILL)) == 8
    assert run.passes == sum(box.batches) == 8


def test_who_leaves_waits_for_what_was_begun() -> None:
    """Or its buffers would be freed under the box."""
    box = Slow()
    with start_run(batch=4):
        steps = loop.score_masked(box, IMAGE, 1, [LOT], FILL)
        next(steps)
        steps.close()
    assert box.events == ["begin 0", "begin 1", "wait 0", "wait 1"]


def test_an_error_that_comes_late_is_the_boxs() -> None:
    """Whatever it raises when it is waited for, and the batch behind it is waited for too."""

    def wrong(_: Images) -> Probabilities:
        raise ValueError("no such thing")

    box = Slow(wrong)
    with pytest.raises(BoxError, match="no such thing"), start_run(batch=4):
        list(loop.score_masked(box, IMAGE, 1, [LOT], FILL))
    assert box.events[-2:] == ["wait 0", "wait 1"]


def test_want_of_memory_loses_no_mask() -> None:
    """Asking for less goes on where it was, with a batch under way."""

    class Small(Slow):
        def submit(self, images: Images) -> Callable[[], Probabilities]:
            if len(images) > 2 and "begin 0" in self.events:
                raise torch.OutOfMemoryError("full")
            return super().submit(images)

    for batch in (3, 4):
        with start_run(batch=batch):
            got = torch.cat([y.clone() for _, _, y in loop.score_masked(Small(), IMAGE, 1, [LOT], FILL)])
            assert torch.equal(
                got, torch.cat([y for _, _, y in loop.score_masked(Asked(brightness), IMAGE, 1, [LOT], FILL)])
            )


def test_as_many_batches_are_under_way_as_the_box_asks_for() -> None:
    """A box far away is kept busy; scores come in order, and no buffer is used while it is read."""

    class Far(Slow):
        in_flight = 4

    box, quick = Far(), Asked(brightness)
    with start_run(batch=2):
        scores = torch.cat([y.clone() for _, _, y in loop.score_masked(box, IMAGE, 1, [LOT], FILL)])
        assert torch.equal(scores, torch.cat([y for _, _, y in loop.score_masked(quick, IMAGE, 1, [LOT], FILL)]))
    assert box.events[:5] == ["begin 0", "begin 1", "begin 2", "begin 3", "wait 0"]
    assert box.events[-4:] == ["wait 6", "wait 7", "wait 8", "wait 9"]
