"""Let freed memory stay with the process between passes.

A forward pass allocates and frees the same tens of megabytes again and again. By default glibc hands each large piece
back to the system, which zeroes it anew for the next layer: on CPUs that costs more than much of the arithmetic
(docs/decisions/0005-allocator.md). Two thresholds of glibc stop that; the memory is given back when `release` is called.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


@cache
def keep_freed_memory() -> bool:
    """Raise the thresholds, once a process; say whether that was done.

    Only on Linux with glibc, and not when the environment variable SALIENCE_MALLOC is "system".

    >>> isinstance(keep_freed_memory(), bool)
    True
    """
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_MMAP, 1 << 30)) and bool(libc.mallopt(_TRIM, 2**31 - 1))


def release_memory() -> None:
    """Give free memory back to the system.

    >>> release_memory()  # after a large batch
    """
    libc = _glibc() if keep_freed_memory() else None
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    if not sys.platform.startswith("linux") or os.environ.get("SALIENCE_MALLOC") == "system":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
