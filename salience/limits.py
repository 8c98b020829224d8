"""How much of anything is read, and the range of every number, in one place: no file, name or number goes on for ever."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from salience.errors import SettingError, show

PICTURE = 2**31  # bytes of a picture's file, and of the values that a compressed one unfolds to
FETCH = 2**28  # bytes of a picture at a web address
FETCH_SECONDS = 60.0  # until all of it is here
RECORD = 2**33  # bytes of an explanation or an explainer
WEIGHTS = 2**40  # and of a tar of pictures
TEXT = 2**28  # bytes of a file of text: an index of pictures, a journal's line
HEADER = 2**24  # bytes of a file that people write, or of a file's header: a grid, the names of classes
NAME = 10_000  # letters of one name: of a class, a picture, a layer
PIXELS = 5 * 10**8  # of a photograph that a file speaks of
SIDE = 2**15  # pixels, of a box's input
BATCH = 2**20  # images of one pass
PASSES = 10**12
SECONDS = 10**7  # four months
NUMBER = 10**12  # any other setting, up or down; seeds are whole numbers of 64 bits
SAMPLES = 1_000_000  # of a data set that is drawn
CELLS = 100_000  # of a grid
ROWS = 10**7  # of a table, and files in a tar
SHARDS = 100_000  # files that one pattern stands for


def read_bytes(path: Path, most: int = PICTURE) -> bytes:
    """Read a file; OSError for one that is larger, and for what may never end: a pipe, a device.

    >>> read_bytes(Path("/dev/zero"))
    Traceback (most recent call last):
        ...
    OSError: [Errno 22] a pipe or a device, where a file is expected: '/dev/zero'
    """
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:  # noqa: PTH123  # a descriptor, no path
        _expect_finite(os.fstat(file.fileno()), path, most)
        content = file.read(most + 1)
    if len(content) > most:  # it grew
        raise OSError(27, f"more than {most:,} bytes", str(path))
    return content


def read_text(path: Path, most: int = HEADER, encoding: str = "utf-8") -> str:
    """Read a file of text; OSError as in `read_bytes`, UnicodeDecodeError for what is no text.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = Path(folder, "names.txt").write_text("ant", encoding="utf-8")
    ...     read_text(Path(folder, "names.txt"))
    'ant'
    """
    return read_bytes(path, most).decode(encoding).replace("\r\n", "\n")


def expect_file(path: Path, most: int = RECORD) -> Path:
    """Return the path of a file that another library will read; OSError as in `read_bytes`.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     expect_file(Path(file.name)) == Path(file.name)
    True
    """
    _expect_finite(path.stat(), path, most)
    return path


def expect_number(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> Any:
    """Return a number within a range; SettingError for anything else, such as NaN.

    >>> expect_number("batch", 0, 1, 8, whole=True)
    Traceback (most recent call last):
        ...
    salience.errors.SettingError: expected batch as a whole number from 1 to 8, got 0
    """
    plain = isinstance(value, Integral) if whole else isinstance(value, Real)
    if isinstance(value, bool) or not plain or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise SettingError(f"expected {name} as a {kind} from {low:,} to {high:,}, got {show(value)}")
    return value


def expect_settings(settings: Mapping[str, Any]) -> None:
    """Look at every number of settings; SettingError for one beyond what any method can use.

    >>> expect_settings({"masks": 4000, "keep": (0.1, 0.5), "fill": "mean"})
    """
    for name, value in settings.items():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, int) and not isinstance(each, bool):
                low, high = (-(2**63), 2**64) if name == "seed" else (-NUMBER, NUMBER)
                expect_number(name, each, low, high, whole=True)
            elif isinstance(each, float) and not math.isinf(each):
                expect_number(name, each, -NUMBER, NUMBER)


def expect_name(name: str, what: str) -> str:
    """Return a name that can be shown; SettingError for one that goes on and on.

    >>> expect_name("tabby, tabby cat", "class")
    'tabby, tabby cat'
    """
    if len(name) > NAME:
        raise SettingError(f"expected a name of at most {NAME:,} letters for a {what}, got {len(name):,}: {name[:40]}…")
    return name


def expect_header(text: str) -> str:
    """Return the header of a file; SettingError for one that is no header any more.

    >>> expect_header("{}")
    '{}'
    """
    if len(text) > HEADER:
        raise SettingError(f"expected a header of at most {HEADER:,} letters, got {len(text):,}")
    return text


def _expect_finite(about: os.stat_result, path: Path, most: int) -> None:
    """Expect a file that ends, and soon enough."""
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not stat.S_ISREG(about.st_mode):
        raise OSError(22, "a pipe or a device, where a file is expected", str(path))
    if about.st_size > most:
        raise OSError(27, f"{about.st_size:,} bytes, more than {most:,}", str(path))
