"""`csv:FILE`: a table with a row a picture, or a row a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salience.case import Data, Sample
from salience.data import _files, _masks, _options, _tables
from salience.data._tables import LABELS, Label
from salience.errors import DataError, SettingError, UnknownName

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
FILES = ("file", "path", "image", "filename", "file_name", "picture")
CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
SIZES = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
MASKS = ("mask", "mask_file")

Box = tuple[float, float, float, float]
Row = Mapping[str, str]


@dataclass
class _Picture:
    """What the rows of a picture say together."""

    boxes: list[Box] = field(default_factory=list)
    mask: str = ""


def load(
    name: str,
    *,
    file: Any = None,
    labels: Any = None,
    box: Any = None,
    mask: Any = None,
    root: Any = None,
    where: Any = None,
    **unknown: Any,
) -> Data:
    """Open a table; options name the columns that are not called as usual, and `box` four of them.

    Rows of one picture with the same labels are one sample, and join their boxes: left, top, right, bottom, or left,
    top, width, height where the columns are called x, y, w, h. Files are sought from `root`, by default the table's
    folder. `where=a==b` keeps the rows whose column a has what column b has, or the word b. `mask=none` and `box=none`
    leave the places out.
    """
    _options.expect_known(load, unknown)
    path = _files.expect_path(name, "a table")
    table = _keep(_tables.read_rows(path), where, path)
    at = _tables.find_column(table, file, FILES, path)
    if at is None:
        raise DataError(f"expected a column of files in {path}, got {', '.join(table[0])}: give file=COLUMN")
    said = _tables.find_column(table, labels, (each for each in LABELS if each != at), path)
    corners = _corners(table, box, path)
    mask_column = None if mask == "none" else _tables.find_column(table, mask, MASKS, path)
    found: dict[tuple[str, tuple[Label, ...]], _Picture] = {}
    for number, row in enumerate(table, 1):
        line = f"row {number} of {path}, {row[at][:200]}"
        one = found.setdefault((row[at], _tables.read_labels(row[said], line) if said else ()), _Picture())
        one.boxes += _box(row, corners, line)
        one.mask = one.mask or (row[mask_column] if mask_column else "")
    base = path.parent if root is None else _files.expect_path(root, "the folder of the pictures")
    _files.expect_first(base / table[0][at], "give root=FOLDER")
    given = {"file": file, "labels": labels, "box": box, "mask": mask, "root": root, "where": where}
    return Data(_options.write_spec("csv", name, **given), _samples(found, base))


def _samples(pictures: Mapping[tuple[str, tuple[Label, ...]], _Picture], base: Path) -> tuple[Sample, ...]:
    files = [file for file, _ in pictures]
    several = {file for file, others in zip(sorted(files), sorted(files)[1:], strict=False) if file == others}
    return tuple(
        Sample(
            f"{file}:{';'.join(map(str, labels))}" if file in several else file,
            base / file,
            labels,
            tuple(one.boxes),
            base / one.mask if one.mask else None,
        )
        for (file, labels), one in pictures.items()
    )


def _keep(table: list[dict[str, str]], where: Any, path: Path) -> list[dict[str, str]]:
    if where is None:
        return table
    left, equal, right = (part.strip() for part in str(where).partition("=="))
    if not equal:
        raise SettingError(f"expected where as column==column or column==word, got {where!r}: write it with two signs")
    _tables.find_column(table, left, (), path)
    kept = [row for row in table if row[left] == row.get(right, right)]
    if not kept:
        raise DataError(f"expected rows of {path} with {where}, got none of {len(table)}: check the word or the column")
    return kept


def _corners(table: Sequence[Row], box: Any, path: Path) -> tuple[str, ...]:
    if box == "none":
        return ()
    if box is None:
        return next((each for each in (*CORNERS, *SIZES) if set(each) <= set(table[0])), ())
    names = tuple(part.strip() for part in box.split(",")) if isinstance(box, str) else box
    if not isinstance(names, list | tuple):
        raise SettingError(f"expected box as four columns, such as box=xmin,ymin,xmax,ymax, got {names!r}")
    if len(names) != 4:
        raise SettingError(f"expected box as four columns, such as box=xmin,ymin,xmax,ymax, got {len(names)} of them")
    for each in names:
        if each not in table[0]:
            raise UnknownName.of(f"column of {path.name}", str(each), table[0])
    return tuple(names)


def _box(row: Row, corners: tuple[str, ...], where: str) -> list[Box]:
    texts = [row[each] for each in corners]
    if not any(texts):
        return []
    try:
        left, top, right, bottom = (float(text) for text in texts)
    except ValueError:
        raise DataError(f"expected four numbers in {', '.join(corners)} of {where}, got {', '.join(texts)}") from None
    if corners[2].lower() in ("w", "width"):
        right, bottom = left + right, top + bottom
    return [_masks.expect_box(left, top, right, bottom, where)]
