"""Torch's threads, which make way for a network that has its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch

from salience.engine.query import loop, torch_threads
from salience.engine.query.run import start_run
from salience.engine.training import modes
from salience.estimates import Estimate


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """Begin with three threads, and leave as many as there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_torch_rests_until_the_outermost_run_ends() -> None:
    """Inner runs end without giving the threads back."""
    with start_run():
        with start_run():
            torch_threads.use_one()
            torch_threads.use_one()
            assert (torch.get_num_threads(), torch_threads.count()) == (1, 3)
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), torch_threads.count()) == (3, 3)


def test_outside_a_run_nobody_rests() -> None:
    """There is nothing that would end it."""
    torch_threads.use_one()
    torch_threads.follow_others()
    assert torch.get_num_threads() == 3


def test_a_method_that_is_called_by_itself_makes_way_too() -> None:
    """Without a run around it."""

    def steps() -> Iterator[Estimate]:
        torch_threads.use_one()
        yield Estimate(torch.full((1, 1), float(torch.get_num_threads())))

    assert loop.run_to_end(steps()).saliency == 1
    assert torch.get_num_threads() == 3


def test_an_error_gives_the_threads_back() -> None:
    """As any end of a run does."""
    with suppress(ZeroDivisionError), start_run():
        torch_threads.use_one()
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 3


def test_a_pass_of_torch_itself_has_all_threads() -> None:
    """Also within a run that rests; then it rests again."""
    with start_run():
        torch_threads.use_one()
        with modes.evaluating(torch.nn.Linear(1, 1)):
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1


def test_other_threads_of_python_keep_theirs_whenever_they_began() -> None:
    """Torch gives a new one what was set last."""
    with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as after, start_run():
        assert before.submit(torch.get_num_threads).result() == 3
        torch_threads.use_one()
        with torch_threads.use_all():
            pass
        assert [pool.submit(torch.get_num_threads).result() for pool in (before, after)] == [3, 3]
        assert torch.get_num_threads() == 1


def test_who_asks_in_another_thread_rests_too_and_each_wakes_by_itself() -> None:
    """Torch's number of threads belongs to each thread of Python."""

    def asks() -> tuple[int, int]:
        with start_run():
            torch_threads.follow_others()
            inside = torch.get_num_threads()
        return inside, torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool, start_run():
        torch_threads.use_one()
        assert pool.submit(asks).result() == (1, 3)
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
