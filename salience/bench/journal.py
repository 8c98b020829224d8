"""The rows of a cell: one line a picture, written whole or not at all, by any number of processes.

A line is added under a lock and only if its picture has none yet, so a run that is killed, started again, or started
twice neither loses nor doubles a row. A line that was cut short by a kill is cut off before the next one is added.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from salience.errors import GridError
from salience.explanation import rename_old_keys

Row = dict[str, Any]


class Journal:
    """The file of one cell. Its first line says of which grid's cell it is.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder) / "cell.jsonl", "digest")
    ...     journal.add("0001", [{"value": 0.5}]), journal.add("0001", [])
    (True, False)
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        self._read, self._pictures = 0, set[str]()

    @property
    def pictures(self) -> frozenset[str]:
        """Tell which pictures have their rows."""
        if self.path.exists():
            with self.path.open("rb") as file:
                self._follow(file)
        return frozenset(self._pictures)

    def add(self, picture: str, rows: list[Row]) -> bool:
        """Add a picture's rows; False where it had some."""
        from filelock import FileLock  # the lock goes with the process, so a killed one holds nothing

        line = json.dumps({"picture": picture, "rows": rows}, allow_nan=True).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
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
        return True

    def _follow(self, file: IO[bytes]) -> int:
        """Read what is new; return where the last whole line ends."""
        for end, entry in _read_lines(file, self._read):
            self._read = end
            if "digest" in entry and entry["digest"] != self.digest:
                raise GridError(
                    f"expected rows of this grid's {self.path.stem}, got some of another grid (its method, box, data or "
                    f"measures differ): choose another --out, or delete {self.path.name}"
                )
            if "picture" in entry:
                self._pictures.add(entry["picture"])
        return self._read


def read_journal(path: Path) -> Iterator[Row]:
    """Read all rows of a cell's file; what was cut short is left out.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder) / "cell.jsonl", "digest")
    ...     added = journal.add("0001", [{"value": 0.5}])
    ...     list(read_journal(journal.path))
    [{'value': 0.5}]
    """
    with path.open("rb") as file:
        for _, entry in _read_lines(file, 0):
            yield from map(rename_old_keys, entry.get("rows", ()))


def _read_lines(file: IO[bytes], start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    file.seek(start)
    for line in file:
        if not line.endswith(b"\n"):
            return
        try:
            entry = json.loads(line)
        except ValueError:
            return
        start += len(line)
        yield start, entry
