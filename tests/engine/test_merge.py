"""Several explanations whose passes share batches."""

from __future__ import annotations

import signal
import threading

import pytest
import torch

from salience.boxes import toy
from salience.engine import merge


class Counted:
    """A box that writes down how many images came at once, and in which thread."""

    def __init__(self) -> None:
        self.inner = toy.load("colour")
        self.sizes: list[int] = []
        self.threads: set[int] = set()
        self.problem: BaseException | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def inside(self, value: int) -> int:
        """Stand for a look inside."""
        self.threads.add(threading.get_ident())
        return value + 1

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        self.threads.add(threading.get_ident())
        if self.problem is not None:
            raise self.problem
        return self.inner(images)


def images(count: int, seed: int) -> torch.Tensor:
    """Draw some images."""
    box = toy.load("colour")
    return torch.rand(count, 3, *box.size, generator=torch.Generator().manual_seed(seed))


def test_each_gets_its_own_scores_of_one_batch() -> None:
    """Three ask for 2, 3 and 4 images, twice; the last one goes on alone."""
    box = Counted()

    def deed(number: int, rounds: int) -> object:
        return lambda asked: [asked(images(number, 10 * number + each)) for each in range(rounds)]

    found = merge.together(box, [deed(2, 2), deed(3, 2), deed(4, 3)])
    assert box.sizes == [9, 9, 4]
    assert box.threads == {threading.get_ident()}
    for number, scores in zip((2, 3, 4), found, strict=True):
        for each, rows in enumerate(scores):
            assert torch.allclose(rows, box.inner(images(number, 10 * number + each)), atol=1e-6)


def test_what_else_the_box_does_is_done_at_once_in_its_own_thread() -> None:
    """A look inside waits for nobody."""
    box = Counted()
    assert merge.together(box, [lambda asked: asked.inside(1), lambda asked: asked.inside(2)]) == [2, 3]
    assert box.threads == {threading.get_ident()}
    assert merge.together(box, [lambda asked: asked.name]) == [box.inner.name]


def test_the_first_failure_ends_all_and_is_raised() -> None:
    """Another one that would ask for ever is stopped by it."""

    def fails(asked: object) -> None:
        asked(images(1, 0))
        raise ValueError("mine")

    def endless(asked: object) -> None:
        while True:
            asked(images(1, 1))

    with pytest.raises(ValueError, match="mine"):
        merge.together(Counted(), [fails, endless])


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), RuntimeError("the box")])
def test_what_the_box_raises_reaches_the_caller(problem: BaseException) -> None:
    """Ctrl-C too."""
    box = Counted()
    box.problem = problem
    with pytest.raises(type(problem)):
        merge.together(box, [lambda asked: asked(images(1, 0)), lambda asked: asked(images(2, 0))])


def test_an_asker_may_deal_with_what_the_box_raises() -> None:
    """As `probe.each` does where memory is short: it asks for less."""
    box = Counted()
    box.problem = MemoryError()

    def deed(asked: object) -> int:
        try:
            asked(images(4, 0))
        except MemoryError:
            box.problem = None
            return len(asked(images(2, 0)))
        return 0

    assert merge.together(box, [deed, deed]) == [2, 2]
    assert box.sizes == [8, 4]


def test_ctrl_c_ends_it_while_all_wait_or_work() -> None:
    """Whether it comes in a pass of the box or between two; nobody is left waiting."""

    def endless(asked: object) -> None:
        while True:
            asked(images(1, 1))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it
    try:
        for delay in (0.1, 0.25, 0.4):
            alarm = threading.Timer(delay, signal.raise_signal, [signal.SIGINT])
            alarm.start()
            with pytest.raises(KeyboardInterrupt):
                merge.together(Counted(), [endless, endless, endless])
            alarm.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [each for each in threading.enumerate() if each.name.startswith("ThreadPoolExecutor")]
