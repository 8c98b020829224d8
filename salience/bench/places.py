"""Where the files of a run lie: names that every disk takes, and that no two things share."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from salience.errors import GridError

if TYPE_CHECKING:
    from salience.bench.grid import Cell

MOST = 240  # letters of a name without its ending: disks take 255 bytes
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}  # of Windows


def make_slug(text: str) -> str:
    """Make a file's name of a text; what had to be changed is told apart by its hash.

    >>> make_slug("rise.50"), make_slug("my method")[:14]
    ('rise.50', 'my-method-a7c9')
    """
    plain = _simplify(text)
    return plain if plain == text else _add_hash(plain[:70], text)


def name_cell(*labels: str) -> str:
    """Name a cell by its method, box, data and seed.

    >>> name_cell("rise", "toy", "shapes", "0")
    'rise--toy--shapes--0'
    """
    name = "--".join(map(make_slug, labels))
    return name if len(name) <= MOST else _add_hash(name[: MOST - 21], name)


def name_picture(picture: str, taken: set[str]) -> str:
    """Name the files of a picture otherwise than those before it, also where the case of letters does not count.

    >>> taken = set()
    >>> [name_picture(each, taken)[:4] for each in ("a.png", "A.png", "nul.png")]
    ['a.pn', 'A-pn', 'nul-']
    >>> len(taken)
    3
    """
    name = make_slug(picture)
    if name.casefold() in taken or name.partition(".")[0].casefold() in DEVICES:
        name = _add_hash(name.replace(".", "-"), picture)  # a device is one under any ending
    taken.add(name.casefold())
    return name


def find_journal(out: Path, cell: Cell) -> Path:
    """Say where the rows of a cell lie.

    >>> from salience.bench.grid import parse_grid
    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}})
    >>> find_journal(Path("run"), grid.cells[0]).as_posix()
    'run/cells/rise--toy--shapes--0.jsonl'
    """
    earlier = out / "cells" / f"{'--'.join(map(_make_old_slug, cell.labels))}.jsonl"
    return earlier if _exists(earlier) else out / "cells" / f"{cell.name}.jsonl"


def find_selection(out: Path, box: str, data: str) -> Path:
    """Say where the pictures of a box and a data set are written down; runs of earlier versions have it in `scenes`.

    >>> find_selection(Path("run"), "toy", "shapes").as_posix()
    'run/selections/toy--shapes.json'
    """
    names = [f"{make(box)}--{make(data)}.json" for make in (make_slug, _make_old_slug)]
    places = [out / folder / name for name in names for folder in ("selections", "scenes")]
    return next((each for each in places if _exists(each)), places[0])


def find_picture(folder: Path, picture: str, ending: str) -> Path:
    """Say where a picture's file lies in a folder of them.

    >>> find_picture(Path("run/pictures/toy--shapes"), "0001", ".jpg").as_posix()
    'run/pictures/toy--shapes/0001.jpg'
    """
    name = make_slug(picture)
    names = (
        _add_hash(name.replace(".", "-"), picture),
        name,
        _make_old_slug(picture),
    )  # the first where another has the second
    return next((file for each in names if _exists(file := folder / f"{each}{ending}")), folder / f"{name}{ending}")


def make_folder(out: Path, *names: str) -> Path:
    """Make a folder inside a run's; never the run's own: where that is gone, somebody moved or deleted it.

    >>> make_folder(Path("nowhere"), "cells")
    Traceback (most recent call last):
        ...
    salience.errors.GridError: expected the folder of the run at nowhere, got No such file or directory: ...
    """
    folder = out
    try:
        for name in names:
            folder /= name
            folder.mkdir(exist_ok=True)
    except OSError as problem:
        raise GridError(
            f"expected the folder of the run at {out}, got {problem.strerror}: put it back or make room, and run again"
        ) from problem
    return folder


def _simplify(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_]+", "-", text).strip("-.")[:80]


def _add_hash(name: str, text: str) -> str:
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:20]}"


def _make_old_slug(text: str) -> str:
    """Make the name of earlier versions, which told less apart: runs of theirs go on under it."""
    plain = _simplify(text)
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long names nothing
        return False
