"""`salience compare`."""

from __future__ import annotations

from pathlib import Path


def compare(run: Path) -> int:
    """Make the compare of a run."""
    raise NotImplementedError(run)
