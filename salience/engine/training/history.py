"""The figures of a training, a row a step, kept in a file beside the checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path

from salience import limits
from salience.errors import RecordError
from salience.files import write_whole

Row = dict[str, float]


class History:
    """A row of figures a step, in a file that grows; what came after the checkpoint is dropped and made again.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = History(Path(folder) / "history.jsonl", done=0, main=True)
    ...     history.add({"step": 1, "loss": 0.5})
    >>> history.rows
    [{'step': 1, 'loss': 0.5}]
    """

    def __init__(self, path: Path, done: int, *, main: bool) -> None:
        try:
            lines = limits.read_text(path, limits.TEXT).splitlines() if path.exists() else []
            self.path, self.main, self.rows = path, main, [json.loads(line) for line in lines[:done]]
        except (OSError, ValueError) as problem:
            raise RecordError(
                f"expected the figures of a training in {path}, got {problem}: choose another --out"
            ) from problem
        if len(self.rows) < done:
            raise RecordError(
                f"expected the figures of {done} steps in {path}, got {len(self.rows)}: put it back from a copy, or choose "
                "another --out"
            )
        if main:
            write_whole(path, "".join(f"{line}\n" for line in lines[:done]).encode())

    def add(self, row: Row) -> None:
        """Write a row down."""
        self.rows.append(row)
        if not self.main:
            return
        try:
            if not self.path.exists():  # it would begin anew in the middle
                raise FileNotFoundError(2, "No such file or directory")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as problem:
            raise RecordError(
                f"expected to write {self.path}, got {problem.strerror}: make room or put the folder back, and run again"
            ) from problem

    def sync(self) -> None:
        """Wait until all rows are on the disk, before a checkpoint counts on them."""
        if self.main:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
