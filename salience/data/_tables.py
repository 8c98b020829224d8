"""Tables with a head, and names of classes read off them."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from salience import limits
from salience.data._files import expect_path, read_json
from salience.errors import DataError, UnknownName

Label = str | int
DIGITS = 18  # of an index
LABELS = ("label", "labels", "class_name", "class", "category", "name", "class_index", "imagenet_indices")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file whose first line names the columns."""
    found: list[dict[str, str]] = []
    try:
        with limits.expect_file(path, limits.TEXT).open(newline="", encoding="utf-8-sig") as opened:
            table = csv.DictReader(opened, strict=True)
            for row in table:
                if None in row or None in row.values():
                    width = len(table.fieldnames or ())
                    raise DataError(
                        f"expected {width} values in line {table.line_num} of {path}, got more or fewer: mend it"
                    )
                found.append(row)
                if len(found) > limits.ROWS:
                    raise DataError(f"expected at most {limits.ROWS:,} rows in {path}, got more: cut it in parts")
    except (OSError, csv.Error, UnicodeDecodeError) as problem:
        raise DataError(f"expected a table in {path}, got something else ({problem}): give CSV in UTF-8") from None
    if not found:
        raise DataError(f"expected rows under the names of the columns in {path}, got none: is it the right file?")
    return found


def find_column(table: Sequence[Mapping[str, str]], wanted: Any, guesses: Iterable[str], path: Path) -> str | None:
    """Return the column that was asked for, or the first that goes by a usual name, or None."""
    known = list(table[0])
    if wanted is None:
        return next((each for each in guesses if each in known), None)
    if wanted not in known:
        raise UnknownName.of(f"column of {path.name}", str(wanted), known)
    return str(wanted)


def read_labels(said: Any, where: str = "a label") -> tuple[Label, ...]:
    """Read right answers, with `;` between: whole numbers are indices of classes, the rest are names."""
    parts = said if isinstance(said, list) else str(said).split(";") if isinstance(said, str) else [said]
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | int | float):
            raise DataError(f"expected a name or a number as a label in {where}, got a {type(part).__name__}: mend it")
        if isinstance(part, str) and len(part) > (DIGITS if part.strip().isdecimal() else limits.NAME):
            raise DataError(f"expected a label of a class in {where}, got {part[:40]}… of {len(part):,} letters: mend it")
    texts = [str(part).strip() for part in parts]
    return tuple(int(text) if text.isdecimal() else text for text in texts if text)


def read_names(names: Collection[str], given: Any, wanted: Any = None) -> dict[str, tuple[Label, ...]]:
    """Look names (of folders, of categories) up in a CSV or JSON file; without one they stand for themselves.

    In JSON `{"n01440764": "tench"}` or `{"0": ["n01440764", "tench"]}`; in CSV the column with most of the names is
    looked up, and `wanted` or the first that is usual for labels answers. What the file does not know is left out.
    """
    if given is None:
        return {name: (name,) for name in names}
    path = expect_path(given, "a file of labels")
    known = _from_json(read_json(path), path) if path.suffix.lower() == ".json" else _from_csv(path, set(names), wanted)
    found = {name: known[name] for name in names if known.get(name)}
    if not found:
        raise DataError(f"expected {path} to know {', '.join(sorted(names)[:3])} …, got none of them: is it the right file?")
    return found


def _from_json(said: Any, path: Path) -> dict[str, tuple[Label, ...]]:
    if not isinstance(said, dict):
        raise DataError(f"expected names and their labels in {path}, got a {type(said).__name__}: write an object")
    known = {name: read_labels(label, f"{name[:200]} of {path}") for name, label in said.items()}
    if all(isinstance(each, list) and each and name.isdecimal() for name, each in said.items()):
        known = {each[0]: (int(index),) for index, each in said.items()}  # torchvision's and Keras' table of ImageNet
    return known


def _from_csv(path: Path, names: set[str], wanted: Any) -> dict[str, tuple[Label, ...]]:
    table = read_rows(path)
    key = max(table[0], key=lambda each: len(names & {row[each] for row in table}))
    label = find_column(table, wanted, (each for each in LABELS if each != key), path)
    if label is None:
        raise DataError(f"expected a column of labels in {path}, got {', '.join(table[0])}: give column=NAME")
    return {row[key]: read_labels(row[label], str(path)) for row in table}
