"""The folder of the cache: entries under names of its own, which it alone may delete; whatever else lies there stays.

An entry begins with a hash of its name and content, so one that was cut short, changed or renamed counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from salience.engine.folders import find_cache_folder

VERSION = 1  # of the entries; those of another lie in another folder
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Entries of salience; see https://bford.info/cachedir/\n"
ENTRY, PART = re.compile(r"[0-9a-f]{32}\.entry"), re.compile(r"[0-9a-f]{32}\.\w+\.part")
STALE = 3600  # seconds after which a part was left by a process that was killed


def find_path(name: str) -> Path | None:
    """Return where an entry lies; None where nothing is to be kept.

    >>> from unittest import mock
    >>> with mock.patch.dict(os.environ, SALIENCE_CACHE="cache"):
    ...     find_path("../../example").parts[:2]
    ('cache', 'salience-cache-1')
    """
    folder = find_cache_folder()
    named = f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.entry"
    return None if folder is None else folder / f"salience-cache-{VERSION}" / named


def read_entry(path: Path) -> bytes | None:
    """Read an entry, and note that it was used; None where there is none, or one that is damaged or another user's.

    >>> read_entry(Path("nowhere.entry")) is None
    True
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with contextlib.suppress(OSError), open(os.open(path, flags), "rb") as file:  # noqa: PTH123  # a descriptor, no path
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and _is_own(os.fstat(file.fileno())):
            said, content = file.read(32), file.read()
            if said == _hash(path, content):
                os.utime(path)
                return content
    return None


def write_entry(path: Path, content: bytes) -> None:
    """Write an entry whole or not at all, for this user alone; OSError where that is not possible.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "salience", "0" * 32 + ".entry")
    ...     write_entry(path, b"kept")
    ...     read_entry(path)
    b'kept'
    """
    make_folder(path.parent)
    number, part = tempfile.mkstemp(".part", f"{path.stem}.", path.parent)  # mode 0600
    try:
        with open(number, "wb") as file:  # noqa: PTH123  # a descriptor, no path
            file.write(_hash(path, content) + content)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Make the folder, for this user alone, with the tag by which backups know a cache.

    >>> with tempfile.TemporaryDirectory() as above:
    ...     make_folder(Path(above, "salience"))
    ...     oct(Path(above, "salience").stat().st_mode & 0o777), [each.name for each in Path(above, "salience").iterdir()]
    ('0o700', ['CACHEDIR.TAG'])
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or not _is_own(about):
        raise PermissionError(f"{folder} is another user's")
    if about.st_mode & 0o077:
        folder.chmod(0o700)
    with contextlib.suppress(FileExistsError), (folder / "CACHEDIR.TAG").open("x", encoding="utf-8") as file:
        file.write(TAG)


def delete_oldest(folder: Path, most: int, files: int) -> None:
    """Delete the entries that were used least recently, beyond so many bytes and files; and parts that were left.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     note = Path(folder, "note.txt")
    ...     written = note.write_text("mine", encoding="utf-8")
    ...     delete_oldest(Path(folder), 0, 0)
    ...     note.exists()
    True
    """
    own = list(_list_own(folder))
    for path, about in own:
        if PART.fullmatch(path.name) and time.time() - about.st_mtime > STALE:
            path.unlink(missing_ok=True)
    entries = sorted((each for each in own if ENTRY.fullmatch(each[0].name)), key=lambda each: -each[1].st_mtime)
    for number, (path, about) in enumerate(entries):
        most -= about.st_size
        if most < 0 or number >= files:
            path.unlink(missing_ok=True)


def _list_own(folder: Path) -> Iterable[tuple[Path, os.stat_result]]:
    """List regular files under names of the cache's own."""
    for path in folder.iterdir():
        if ENTRY.fullmatch(path.name) or PART.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # another process may have deleted it
                about = path.lstat()
                if stat.S_ISREG(about.st_mode):
                    yield path, about


def _is_own(about: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or about.st_uid == os.geteuid()


def _hash(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\n" + content).digest()
