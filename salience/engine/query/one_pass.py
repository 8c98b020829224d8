"""One pass of a torch module at a time, whichever thread makes it.

Modes and hooks are of the module, the random state is of the process, and none of them of one call: what a thread changes
for its pass another one would see. Torch computes a pass on all cores anyway, so little is lost by taking turns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import RLock, local

_turn = RLock()


class _Thread(local):
    helps = False  # another thread, which has the turn


_thread = _Thread()


def helps() -> bool:
    """Say whether this thread computes a part of another one's pass.

    >>> helps()
    False
    """
    return _thread.helps


def help_another() -> None:
    """Let this thread compute parts of the passes of others from now on, in their turn.

    >>> from threading import Thread
    >>> Thread(target=help_another).start()
    """
    _thread.helps = True


@contextmanager
def take_turn() -> Iterator[None]:
    """Keep other threads from passing anything through a torch module; the same thread may enter again, and its helpers.

    >>> with take_turn(), take_turn():
    ...     print("alone")
    alone
    """
    with nullcontext() if helps() else _turn:
        yield


def _replace_lock() -> None:
    """Forget who had the turn: in a process that was forked, the thread that had it does not exist."""
    global _turn  # noqa: PLW0603  # the lock is the process's
    _turn = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_lock)
