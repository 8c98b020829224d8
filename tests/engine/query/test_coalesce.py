"""Several explanations whose passes share batches."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
import torch

from salience.boxes import toy
from salience.engine.query import coalesce
from salience.engine.query.ask import find_blending
from salience.errors import BoxError
from salience.methods.mc_rise import McRise


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

    def task(number: int, rounds: int) -> object:
        return lambda asked: [asked(images(number, 10 * number + each)) for each in range(rounds)]

    found = coalesce.together(box, [task(2, 2), task(3, 2), task(4, 3)])
    assert box.sizes == [9, 9, 4]
    assert box.threads == {threading.get_ident()}
    for number, scores in zip((2, 3, 4), found, strict=True):
        for each, rows in enumerate(scores):
            assert torch.allclose(rows, box.inner(images(number, 10 * number + each)), atol=1e-6)


def test_a_lot_that_is_a_batch_to_itself_is_not_copied() -> None:
    """Its asker leaves it as it is until it is answered."""
    one, two = images(2, 0), images(3, 1)
    assert coalesce.joined([one]) is one
    assert torch.equal(coalesce.joined([one, two]), torch.cat([one, two]))


class Apart(Counted):
    """Computes beside Python: notes what is begun and what is waited for."""

    apart = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def submit(self, images: torch.Tensor) -> object:
        """Begin."""
        self.told.append(f"begin {len(images)}")

        def waited() -> torch.Tensor:
            self.told.append(f"wait {len(images)}")
            return self(images)

        return waited


def test_of_a_box_that_computes_apart_one_half_is_asked_while_the_other_waits() -> None:
    """Four in two groups, of 1 and 4 images and of 2 and 8; the last of the second goes on alone."""
    box = Apart()

    def task(number: int, rounds: int) -> object:
        return lambda asked: [asked(images(number, 10 * number + each)) for each in range(rounds)]

    found = coalesce.together(box, [task(1, 2), task(2, 2), task(4, 2), task(8, 3)])
    assert sorted(box.told) == sorted(["begin 5", "wait 5", "begin 10", "wait 10"] * 2 + ["begin 8", "wait 8"])
    first = box.told.index
    assert max(first("begin 5"), first("begin 10")) < min(first("wait 5"), first("wait 10"))
    for number, scores in zip((1, 2, 4, 8), found, strict=True):
        for each, rows in enumerate(scores):
            assert torch.allclose(rows, box.inner(images(number, 10 * number + each)), atol=1e-6)


class Blending(Apart):
    """Blends by itself."""

    def submit_blended(self, ahead: torch.Tensor, behind: torch.Tensor) -> object:
        """Begin, on masks."""

        def begin(masks: torch.Tensor, paint: Any = None) -> object:
            if paint is None:
                return self.submit(torch.lerp(behind, ahead, masks[:, None]))
            self.told.append("paint")
            return self.submit(paint(torch.ones(3, 1, 1), torch.zeros(3, 1, 1)) + masks[:, None] * ahead)

        return begin


def test_masks_go_to_a_box_that_blends_each_lot_by_itself() -> None:
    """Of three in a group two ask through masks and one about images, or one and two."""
    box = Blending()

    def task(number: int) -> object:
        ahead, behind = images(2, number)
        masks = torch.full((number, *box.size), 0.25)
        return lambda asked: (
            asked(images(1, number)),
            asked.submit_blended(ahead, behind)(masks)(),
            behind.lerp(ahead, 0.25),
        )

    def plain(asked: object) -> list[torch.Tensor]:
        return [asked(images(1, 9)), asked(images(5, 9))]

    found = coalesce.together(box, [task(2), task(3), task(4), plain, plain, plain])
    assert sorted(box.told) == sorted(f"{word} {size}" for word in ("begin", "wait") for size in (3, 3, 2, 4, 5, 3, 10))
    for number, (own, blends, blend) in zip((2, 3, 4), found[:3], strict=True):
        assert torch.allclose(own, box.inner(images(1, number)), atol=1e-6)
        assert torch.allclose(blends, box.inner(blend[None]).expand(number, -1), atol=1e-6)
    for alone, several in found[3:]:
        assert torch.allclose(alone, box.inner(images(1, 9)), atol=1e-6)
        assert torch.allclose(several, box.inner(images(5, 9)), atol=1e-6)


def test_who_paints_shares_batches_too() -> None:
    """MC-RISE twice, beside one another, finds what it finds alone; all that it shows is masks and paint."""
    box, method = Blending(), McRise(masks=20, cells=3)
    pictures = images(2, 0)
    found = coalesce.together(box, [lambda asked, image=each: method(asked, image, 0) for each in pictures])
    assert 0 < box.told.count("paint") == sum(each.startswith("wait") for each in box.told)
    for each, map_ in zip(pictures, found, strict=True):
        assert torch.allclose(map_, method(box.inner, each, 0), atol=1e-5)


def test_what_a_box_that_blends_raises_is_its_own_error() -> None:
    """As whatever else a box raises."""
    box = Blending()
    box.submit_blended = lambda *_: {}["none"]  # type: ignore[method-assign]
    ahead, behind = images(2, 0)
    with pytest.raises(BoxError, match="KeyError"):
        find_blending(box, ahead, behind)


def test_what_a_box_that_computes_apart_raises_reaches_its_askers() -> None:
    """When it is begun, or when it is waited for."""

    def task(asked: object) -> str:
        try:
            asked(images(1, 0))
        except MemoryError:
            return "none"
        return "some"

    late = Apart()
    late.problem = MemoryError()
    assert coalesce.together(late, [task, task, task]) == ["none"] * 3
    early = Apart()
    early.submit = lambda _: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
    assert coalesce.together(early, [task, task]) == ["none"] * 2


def test_who_fails_while_a_batch_is_under_way_leaves_none_behind() -> None:
    """Or its images would be freed under the box."""
    box, under_way = Apart(), threading.Event()
    begin = box.submit

    def noted(asked: torch.Tensor) -> object:
        under_way.set()
        return begin(asked)

    box.submit = noted  # type: ignore[method-assign]

    def fails(_: object) -> None:
        assert under_way.wait(10)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        coalesce.together(box, [lambda asked: asked(images(2, 0)), fails])
    assert box.told == ["begin 2", "wait 2"]


def test_what_else_the_box_does_is_done_at_once_in_its_own_thread() -> None:
    """A look inside waits for nobody."""
    box = Counted()
    assert coalesce.together(box, [lambda asked: asked.inside(1), lambda asked: asked.inside(2)]) == [2, 3]
    assert box.threads == {threading.get_ident()}
    assert coalesce.together(box, [lambda asked: asked.name]) == [box.inner.name]


def test_the_first_failure_ends_all_and_is_raised() -> None:
    """Another one that would ask for ever is stopped by it."""

    def fails(asked: object) -> None:
        asked(images(1, 0))
        raise ValueError("mine")

    def endless(asked: object) -> None:
        while True:
            asked(images(1, 1))

    with pytest.raises(ValueError, match="mine"):
        coalesce.together(Counted(), [fails, endless])


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), RuntimeError("the box")])
def test_what_the_box_raises_reaches_the_caller(problem: BaseException) -> None:
    """Ctrl-C too."""
    box = Counted()
    box.problem = problem
    with pytest.raises(type(problem)):
        coalesce.together(box, [lambda asked: asked(images(1, 0)), lambda asked: asked(images(2, 0))])


def test_an_asker_may_deal_with_what_the_box_raises() -> None:
    """As `probe.each` does where memory is short: it asks for less."""
    box = Counted()
    box.problem = MemoryError()

    def task(asked: object) -> int:
        try:
            asked(images(4, 0))
        except MemoryError:
            box.problem = None
            return len(asked(images(2, 0)))
        return 0

    assert coalesce.together(box, [task, task]) == [2, 2]
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
                coalesce.together(Counted(), [endless, endless, endless])
            alarm.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [each for each in threading.enumerate() if each.name.startswith("ThreadPoolExecutor")]
