"""`salience report`."""

from __future__ import annotations

from pathlib import Path


def report(run: Path) -> int:
    """Make the report of a run."""
    raise NotImplementedError(run)
