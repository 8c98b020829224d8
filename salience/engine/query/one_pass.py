"""One pass of a torch module at a time, whichever thread makes it.

Modes and hooks are of the module, the random state is of the process, and none of them of one call: what a thread changes
for its pass another one would see. Torch computes a pass on all cores anyway, so little is lost by taking turns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_turn = RLock()


@contextmanager
def take_turn() -> Iterator[None]:
    """Keep other threads from passing anything through a torch module; the same thread may enter again.

    >>> with take_turn(), take_turn():
    ...     print("alone")
    alone
    """
    with _turn:
        yield


def _replace_lock() -> None:
    """Forget who had the turn: in a process that was forked, the thread that had it does not exist."""
    global _turn  # noqa: PLW0603  # the lock is the process's
    _turn = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_lock)
