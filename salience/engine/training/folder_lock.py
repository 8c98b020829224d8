"""One process for one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from salience.errors import RecordError


@contextmanager
def lock_folder(folder: Path, *, main: bool = True) -> Iterator[None]:
    """Hold a folder while a training writes there; processes of the same training that are not `main` need not ask.

    The lock goes with the process, so a killed one holds nothing. RecordError where another process holds it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, lock_folder(Path(folder)):
    ...     print("alone here")
    alone here
    """
    from filelock import FileLock, Timeout

    if not main:
        yield
        return
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise RecordError(
            f"expected {folder} for this training alone, got a folder that another one writes to: wait for its end, "
            "or name another folder"
        ) from None
