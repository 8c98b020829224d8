"""How much memory something takes at its peak, above what was there before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

EVERY = 0.01  # seconds between two looks at a CPU process; peaks shorter than that may be missed


@contextmanager
def track_peak_memory(device: torch.device) -> Iterator[Callable[[], int | None]]:
    """Watch while the block runs; the function then says the bytes, None where nobody can tell.

    >>> with track_peak_memory(torch.device("cpu")) as read_peak:
    ...     pass
    >>> read_peak() >= 0
    True
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    try:
        import psutil
    except ImportError:
        yield lambda: None
        return
    own, done = psutil.Process(), threading.Event()
    seen = [own.memory_info().rss]

    def watch() -> None:
        while not done.wait(EVERY):
            seen.append(own.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: max(seen) - seen[0]
    finally:
        done.set()
        watcher.join()
        seen.append(own.memory_info().rss)
