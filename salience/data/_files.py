"""Files and folders: found, or missed in words; and the order in which people count them."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from salience import limits
from salience.errors import DataError


def expect_path(path: Any, what: str) -> Path:
    """Return a path that exists."""
    if not isinstance(path, str | Path):
        raise DataError(f"expected {what} as a path, got {type(path).__name__}: give a text")
    try:
        found = Path(path).expanduser()
        if found.exists():
            return found
    except (OSError, ValueError, RuntimeError) as problem:  # too long, a zero byte, an unknown user
        raise DataError(f"expected {what} at {str(path)[:200]}, got {problem}: check the path") from None
    beside = [each.name for each in found.parent.iterdir()] if found.parent.is_dir() else []
    close = get_close_matches(found.name, beside, n=3)
    raise DataError(f"expected {what} at {found}, got nothing there: " + (_meant(close) if close else "check the path"))


def expect_first(picture: Path, advice: str) -> None:
    """Look whether the first picture of an index is where it should be: if not, none will be."""
    if not picture.exists():
        raise DataError(f"expected the pictures of the index, got no {picture}: {advice}")


def natural_key(text: str) -> tuple[Any, ...]:
    """Sort `2.png` before `10.png`."""
    parts = re.split("([0-9]+)", text)
    return (*(int(part) if number % 2 else part.lower() for number, part in enumerate(parts)), text)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    try:
        return json.loads(limits.read_text(path, limits.PICTURE))
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"expected JSON in {path}, got something else ({problem}): is the file whole?") from None


def _meant(close: list[str]) -> str:
    return f"did you mean {', '.join(close)}?"
