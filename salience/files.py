"""Files are written whole or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path

from salience.errors import RecordError


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write a file whole or not at all.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/note.txt", b"whole").read_bytes()
    b'whole'
    """
    path = Path(path)
    part: Path | None = None
    try:
        name = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
        with name.open("xb") as file:  # for whom the umask lets
            part = name
            file.write(content)
        part.replace(path)
    except OSError as problem:
        if part is not None:
            part.unlink(missing_ok=True)
        raise RecordError(
            f"expected to write {path}, got {problem.strerror}: choose a folder that exists and is yours"
        ) from problem
    return path
