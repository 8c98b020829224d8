"""Passes in lots of a fixed size, side by side, each on one thread: the same numbers for any batch and number of threads.

Libraries choose kernels, and how to split a sum, by the size of a batch and by the number of threads. What LOT images give
on one thread depends on neither, and cores that have a lot each are as busy as when they share one.
"""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from salience.engine.query import torch_threads
from salience.engine.query.one_pass import help_another
from salience.engine.query.stateless import keeps_nothing
from salience.types import BackendBox, BlackBox

LOT = 4  # images: fewer cost a sixth more; more leave cores without one
REPLACED = 32  # replaced activations: what comes before them is computed once a lot
STRIKES = 2  # batches after which a network that keeps something of its passes gets one lot after the other

Part = TypeVar("Part")
Answer = TypeVar("Answer")

_helpers: ThreadPoolExecutor | None = None
_strikes: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def find_lot(box: BlackBox) -> int:
    """Say of how many images batches are multiples, and sums are made at a time; 1 where speed goes before the last digits.

    >>> from salience.boxes import toy
    >>> find_lot(toy.load("colour", backend="exact")), find_lot(toy.load("colour", backend="torch channels-last"))
    (4, 1)
    """
    return min(LOT, box.batch or LOT) if box.backend == "exact" and box.device.type == "cpu" else 1


def passes_alone(box: BlackBox) -> bool:
    """Say whether each of a box's lots is passed on one thread of torch, and what is made of the scores computed so too.

    >>> from salience.boxes import toy
    >>> passes_alone(toy.load("colour", backend="exact"))
    True
    """
    return isinstance(box, BackendBox) and find_lot(box) > 1


def run_lots(module: nn.Module, work: Callable[[Part], Answer], parts: Sequence[Part]) -> list[Answer]:
    """Let work be done for each part, by as many threads as torch has, each of which computes alone; answers are in order.

    The caller has the module's turn and has changed its modes. A module that keeps something of a pass, such as a tensor
    that a later layer reads, gets one part after the other; so does one that may (see `stateless`).

    >>> run_lots(nn.Identity(), lambda part: 2 * part, [1, 2, 3])
    [2, 4, 6]
    """
    threads = min(torch_threads.count(), len(parts))
    with torch_threads.compute_alone():
        if threads < 2 or is_watched() or _strikes.get(module, 0) >= STRIKES or not keeps_nothing(module):
            return [work(part) for part in parts]
        before = _State(module)
        try:
            answers = _share_out(work, parts, threads)
        except Exception:
            if before.lasts():
                raise
        else:
            if before.lasts():
                return answers
        _strikes[module] = _strikes.get(module, 0) + 1
        return [work(part) for part in parts]


def is_watched() -> bool:
    """Say whether every call of torch in this thread is intercepted, which it would not be in others.

    >>> with torch.device("cpu"):
    ...     print(is_watched())
    True
    """
    return bool(torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack())  # noqa: SLF001  # torch says it nowhere else


def _share_out(work: Callable[[Part], Answer], parts: Sequence[Part], threads: int) -> list[Answer]:
    waiting, answers = deque(enumerate(parts)), dict[int, Answer]()

    def serve() -> None:
        while True:
            try:
                number, part = waiting.popleft()
            except IndexError:
                return
            answers[number] = work(part)

    state, helping = _read_state(), list[Future[Any]]()
    try:
        helping += [_get_helpers().submit(copy_context().run, _serve_in, state, serve) for _ in range(threads - 1)]
        serve()
    finally:
        waiting.clear()
        wait(helping)  # before hooks and modes are taken away
    for each in helping:
        each.result()
    return [answers[number] for number in range(len(parts))]


def _read_state() -> list[Callable[[], AbstractContextManager[Any]]]:
    """Read what torch keeps for each thread, as what sets it in another."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    cast, kind = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    return [
        lambda: torch.inference_mode(inference),
        lambda: torch.set_grad_enabled(gradients),
        lambda: torch.autocast("cpu", kind, enabled=cast),
    ]


def _serve_in(state: Sequence[Callable[[], AbstractContextManager[Any]]], serve: Callable[[], None]) -> None:
    with ExitStack() as stack:
        for each in state:
            stack.enter_context(each())
        serve()


class _State:
    """What the parts of a module hold besides weights; the values themselves, so that none gets another's identity."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.values, self.writes = module, list[Any](), list[int]()
        for inner in module.modules():
            for value in inner.__dict__.values():
                self.values.append(value)
                if isinstance(value, (list, dict, set)):
                    self.values += value.values() if isinstance(value, dict) else value
            buffers = (each for each in inner.buffers(recurse=False) if not each.is_inference())
            self.writes += (each._version for each in buffers)  # noqa: SLF001  # the only sign of a write in place

    def lasts(self) -> bool:
        """Say whether all is as it was."""
        now = _State(self.module)
        same = len(self.values) == len(now.values) and all(map(operator.is_, self.values, now.values))
        return same and self.writes == now.writes


def _get_helpers() -> ThreadPoolExecutor:
    global _helpers  # noqa: PLW0603  # the threads are the process's
    if _helpers is None:
        _helpers = ThreadPoolExecutor(256, "salience-lot", _start_helper, (torch_threads.count(),))
    return _helpers


def _start_helper(threads: int) -> None:
    help_another()
    torch_threads.limit(threads)


def _forget_helpers() -> None:
    """Make new ones: in a process that was forked the threads do not exist."""
    global _helpers  # noqa: PLW0603
    _helpers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
