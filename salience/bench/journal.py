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
    """The file of one cell. Its first line says of which grid's cell it is."""

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
        for end, said in _lines(file, self._read):
            self._read = end
            if "digest" in said and said["digest"] != self.digest:
                raise GridError(
                    f"expected rows of this grid's {self.path.stem}, got some of another grid (its method, box, data or "
                    f"measures differ): choose another --out, or delete {self.path.name}"
                )
            if "picture" in said:
                self._pictures.add(said["picture"])
        return self._read


def rows(path: Path) -> Iterator[Row]:
    """Read all rows of a cell's file; what was cut short is left out."""
    with path.open("rb") as file:
        for _, said in _lines(file, 0):
            yield from map(rename_old_keys, said.get("rows", ()))


def _lines(file: IO[bytes], begin: int) -> Iterator[tuple[int, dict[str, Any]]]:
    file.seek(begin)
    for line in file:
        if not line.endswith(b"\n"):
            return
        try:
            said = json.loads(line)
        except ValueError:
            return
        begin += len(line)
        yield begin, said
