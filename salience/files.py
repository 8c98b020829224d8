"""Files that are written whole or not at all, and stay when the power goes."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from salience.errors import RecordError, advise


def write_whole(path: str | Path, content: bytes | Callable[[Any], None]) -> Path:
    """Write a file whole or not at all; once this returns, it stays. What is too large to be held is written by a function.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/note.txt", b"whole").read_bytes()
    b'whole'
    """
    path = Path(path)
    part: Path | None = None
    try:
        name = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
        with name.open("x+b") as file:  # for whom the umask lets
            part = name
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except BaseException as problem:  # Ctrl-C too leaves nothing behind
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        if not isinstance(problem, OSError):
            raise
        advice = advise(problem, "choose a folder that exists and is yours")
        raise RecordError(f"expected to write {path}, got {problem.strerror}: {advice}") from problem
    return path


def make_folder(folder: Path) -> Path:
    """Make a folder for results, and those above it; RecordError where it cannot be.

    >>> make_folder(Path("/dev/null/run"))
    Traceback (most recent call last):
        ...
    salience.errors.RecordError: expected to make the folder /dev/null/run, got Not a directory: choose another --out
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RecordError(f"expected to make the folder {folder}, got {problem.strerror}: choose another --out") from problem
    return folder


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a file that was renamed is so for good.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sync_folder(Path(folder))
    """
    if os.name == "nt":  # it opens no folders, and renames for good
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_tree(folder: Path) -> None:
    """Wait until everything in a folder is on the disk.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sync_tree(Path(folder))
    """
    for place, _, files in os.walk(folder):
        for name in files:
            with (Path(place) / name).open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


class Counted:
    """A file that is written to and counts what it got.

    >>> import io
    >>> counted = Counted(io.BytesIO())
    >>> counted.write(b"abc"), counted.total
    (3, 3)
    """

    def __init__(self, file: Any) -> None:
        self.file, self.total = file, 0

    def write(self, content: bytes) -> int:
        """Write it all."""
        self.file.write(content)
        self.total += len(memoryview(content).cast("B"))
        return len(content)

    def flush(self) -> None:
        """Pass it on."""
        self.file.flush()
