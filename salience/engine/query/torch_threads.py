"""Torch's threads, kept out of the way of a network that computes in threads of another library.

When torch's threads are done with a piece of work they wait for the next by spinning, for milliseconds, on the cores that
OpenVINO or ONNX Runtime then wants: on few cores that costs a good part of the throughput (docs/decisions/0015-threads.md).
So inside a run, from the first pass of such a network on, torch computes on one thread; its share is small there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread, get_ident, local

import torch

_lock = Lock()
_limited: set[int] = set()  # threads of Python for which torch computes on one thread
_all = 0  # how many it had before the first of them


class _Scope(local):
    depth = 0
    single = 0  # how many blocks of `compute_alone` are open


_scope = _Scope()


@contextmanager
def allow_limit() -> Iterator[None]:
    """Allow torch to be limited inside; the end of the outermost scope gives its threads back.

    >>> with allow_limit():
    ...     use_one()
    ...     print(torch.get_num_threads())
    1
    """
    _scope.depth += 1
    try:
        yield
    finally:
        _scope.depth -= 1
        if _scope.depth == 0:
            restore()


def use_one() -> None:
    """Compute on one thread until the end of the scope; outside one nothing happens.

    >>> threads = torch.get_num_threads()
    >>> use_one()  # outside a scope
    >>> torch.get_num_threads() == threads
    True
    """
    global _all  # noqa: PLW0603  # torch's threads are the process's
    if _scope.depth == 0 or get_ident() in _limited:
        return
    now = torch.get_num_threads()  # asked in any case: the first answer in a thread sets what is set for new threads
    with _lock:
        if not _limited:
            _all = now
        _limited.add(get_ident())
    limit(_all)


def follow_others() -> None:
    """Limit torch in this thread too while it is limited in another: both share the cores.

    >>> follow_others()  # in a thread that was just started
    """
    if _limited:
        use_one()


def count() -> int:
    """Return how many threads torch has when it is not limited.

    >>> threads = torch.get_num_threads()
    >>> with allow_limit():
    ...     use_one()
    ...     print(count() == threads)
    True
    """
    with _lock:
        return _all if _limited else torch.get_num_threads()


@contextmanager
def use_all() -> Iterator[None]:
    """Let torch compute on all its threads: for passes of its own.

    >>> with use_all():
    ...     print(torch.get_num_threads() == count())
    True
    """
    limited = get_ident() in _limited and not _scope.single
    if limited:
        torch.set_num_threads(_all)
    try:
        yield
    finally:
        if limited:
            limit(_all)


@contextmanager
def compute_alone() -> Iterator[None]:
    """Compute on one thread inside, whatever `use_all` says there: numbers then do not depend on how many there are.

    >>> with compute_alone(), use_all():
    ...     print(torch.get_num_threads())
    1
    """
    threads = torch.get_num_threads()
    if threads > 1:
        limit(threads)
    _scope.single += 1
    try:
        yield
    finally:
        _scope.single -= 1
        if threads > 1:
            torch.set_num_threads(threads)


def restore() -> None:
    """Give torch its threads back, until it is limited the next time.

    >>> with allow_limit():
    ...     use_one()
    ...     restore()
    ...     print(torch.get_num_threads() == count())
    True
    """
    with _lock:
        if get_ident() not in _limited:
            return
        _limited.discard(get_ident())
    torch.set_num_threads(_all)


def limit(others: int) -> None:
    """Limit this thread of Python alone: threads that start later take over the number that any thread set last.

    >>> threads = torch.get_num_threads()
    >>> limit(threads)
    >>> torch.get_num_threads()
    1
    >>> torch.set_num_threads(threads)
    """
    torch.get_num_threads()  # the first answer in a thread sets what is set for new threads
    torch.set_num_threads(1)
    other = Thread(target=torch.set_num_threads, args=(others,))
    other.start()
    other.join()
