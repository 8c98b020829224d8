"""The figures of a training, a row a step, kept in a file beside the checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

from salience import limits

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
        lines = limits.read_text(path, limits.TEXT).splitlines() if path.exists() else []
        self.path, self.main, self.rows = path, main, [json.loads(line) for line in lines[:done]]
        if main:
            part = path.with_suffix(".part")
            part.write_text("".join(f"{line}\n" for line in lines[:done]), encoding="utf-8")
            part.replace(path)

    def add(self, row: Row) -> None:
        """Write a row down."""
        self.rows.append(row)
        if self.main:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
