"""The rows of a cell: one line a picture, written whole or not at all, by any number of processes.

A line is added under a lock and only if its picture has none yet, so a run that is killed, started again, or started
twice neither loses nor doubles a row. A last line that was cut short by a kill is cut off before the next one is added;
a damaged one before it is left out, and its picture measured again.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
from typing_extensions import TypedDict

from salience import limits
from salience.errors import GridError
from salience.explanation import rename_old_keys
from salience.files import sync_folder

Row = dict[str, Any]
DAMAGED = "expected whole lines in "  # what the warning of a damaged one begins with


Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Columns(TypedDict, total=False):
    """What a row may say.

    >>> msgspec.convert({"value": "high"}, Columns)
    Traceback (most recent call last):
        ...
    msgspec.ValidationError: Expected `float | null`, got `str` - at `$.value`
    """

    cell: str
    method: str
    settings: str
    box: str
    fingerprint: str | None
    backend: str | None
    data: str
    picture: str
    target: str | None
    measure: str | None
    better: str | None
    notes: str | None
    failure: str | None
    salience: str
    torch: str
    seed: Whole
    map_passes: Whole | None
    passes: Whole | None
    value: float | None
    probability: float | None
    map_seconds: float | None
    seconds: float | None
    stability: float | None
    right: bool | None


class _Head(msgspec.Struct):
    """The first line."""

    cell: str
    digest: str


class _Line(msgspec.Struct):
    """Every other one."""

    picture: str
    rows: list[Columns]
    digest: str | None = None  # of the cell; lines of earlier versions have none


class Journal:
    """The file of one cell. Its lines say of which grid's cell they are.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder) / "cell.jsonl", "digest")
    ...     journal.add("0001", [{"value": 0.5}]), journal.add("0001", [])
    (True, False)
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        self._read, self._lines, self._known, self._pictures = 0, 0, False, set[str]()

    @property
    def pictures(self) -> frozenset[str]:
        """Tell which pictures have their rows."""
        if self.path.exists():
            with _open(self.path) as file:
                self._follow(file)
        return frozenset(self._pictures)

    def add(self, picture: str, rows: list[Row]) -> bool:
        """Add a picture's rows; False where it had some. GridError where the folder is gone or full."""
        from filelock import FileLock  # the lock goes with the process, so a killed one holds nothing

        line = json.dumps({"picture": picture, "digest": self.digest, "rows": rows}, allow_nan=True).encode() + b"\n"
        try:
            self.path.parent.stat()  # the lock would make it anew
            with FileLock(self.path.with_suffix(".lock"), poll_interval=0.01), self.path.open("a+b") as file:
                end = self._follow(file)
                if picture in self._pictures:
                    return False
                file.truncate(end)
                if end == 0:
                    line = json.dumps({"cell": self.path.stem, "digest": self.digest}).encode() + b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if end == 0:
                sync_folder(self.path.parent)
        except OSError as problem:
            raise GridError(
                f"expected to write rows to {self.path}, got {problem.strerror}: put the folder back or make room, and "
                "run again, for what was written is whole"
            ) from problem
        return True

    def _follow(self, file: IO[bytes]) -> int:
        """Read what is new; return where the last whole line ends."""
        if file.seek(0, os.SEEK_END) < self._read:
            raise GridError(f"expected the rows in {self.path} to stay, got fewer than there were: run again")
        for end, entry in _read_lines(file, self.path, self._read, self._lines):
            self._read, self._lines = end, self._lines + 1
            if entry is None:
                continue
            if entry.digest not in (None, self.digest):
                raise GridError(
                    f"expected rows of this grid's {self.path.stem}, got some of another grid (its method, box, data or "
                    f"measures differ): choose another --out, or delete {self.path.name}"
                )
            self._known |= entry.digest is not None
            if not self._known:
                raise GridError(
                    f"expected {self.path} to say in its first line of which grid it is, got a damaged one: choose "
                    "another --out, or put the file back from a copy"
                )
            if isinstance(entry, _Line):
                self._pictures.add(entry.picture)
        return self._read


def read_journal(path: Path) -> Iterator[Row]:
    """Read all rows of a cell's file; what was cut short or damaged is left out.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder) / "cell.jsonl", "digest")
    ...     added = journal.add("0001", [{"value": 0.5}])
    ...     list(read_journal(journal.path))
    [{'value': 0.5}]
    """
    for line in _read_pictures(path):
        yield from (dict(row) for row in line.rows)


def count_pictures(path: Path) -> int:
    """Count the pictures that have their rows in a cell's file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder) / "cell.jsonl", "digest")
    ...     added = journal.add("0001", [{"value": 0.5}])
    ...     count_pictures(journal.path)
    1
    """
    return sum(1 for _ in _read_pictures(path))


def _read_pictures(path: Path) -> Iterator[_Line]:
    """Read the lines of a file, of each picture the first."""
    pictures = set[str]()
    with _open(path) as file:
        for _, entry in _read_lines(file, path):
            if isinstance(entry, _Line) and entry.picture not in pictures:
                pictures.add(entry.picture)
                yield entry


def _open(path: Path) -> IO[bytes]:
    try:
        return limits.expect_file(path).open("rb")
    except OSError as problem:
        raise GridError(f"expected rows in {path}, got {problem.strerror}: put the file back, and run again") from problem


def _read_lines(file: IO[bytes], path: Path, start: int = 0, number: int = 0) -> Iterator[tuple[int, _Head | _Line | None]]:
    """Yield whole lines with where they end; None for a damaged one."""
    file.seek(start)
    while (line := file.readline(limits.TEXT)).endswith(b"\n"):
        start, number = start + len(line), number + 1
        entry = _read_line(line)
        if entry is None:
            warnings.warn(
                f"{DAMAGED}{path}, got a damaged one, line {number}: it is left out, and `salience bench` measures its "
                "picture again",
                stacklevel=1,  # the same place for all, so that it is said once
            )
        yield start, entry
    if len(line) == limits.TEXT:
        raise GridError(f"expected lines of at most {limits.TEXT:,} bytes in {path}, got a longer one: choose another --out")


def _read_line(line: bytes) -> _Head | _Line | None:
    try:
        said = json.loads(line)
        if not isinstance(said, dict) or "picture" not in said:
            return msgspec.convert(said, _Head)
        rows = said.get("rows")
        if isinstance(rows, list):
            said["rows"] = [rename_old_keys(each) if isinstance(each, dict) else each for each in rows]
        return msgspec.convert(said, _Line)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return None
