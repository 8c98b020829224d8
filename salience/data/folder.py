"""`folder:PATH`: pictures in folders, a folder a class, as torchvision's ImageFolder has them; or a flat folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from salience.case import Data, Sample
from salience.data import _files, _options
from salience.data._lazy import Lazy
from salience.data._tables import read_names
from salience.errors import DataError, UnknownName
from salience.picture import SUFFIXES

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless


def load(name: str, *, labels: Any = None, column: Any = None, **unknown: Any) -> Data:
    """Open a folder; the first folder below it that a picture lies in is the picture's label.

    `labels=FILE` (CSV or JSON) turns names of folders into names or indices of classes; `column` chooses the CSV's
    column. Hidden files, and files that do not end like a picture, are left out.
    """
    _options.expect_known(load, unknown)
    root = _files.expect_path(name, "a folder of pictures")
    if not root.is_dir():
        raise DataError(f"expected a folder of pictures at {root}, got a file: give the folder that it lies in")
    files = _pictures(root)
    if not files:
        raise DataError(f"expected pictures under {root}, got none: they end in {', '.join(sorted(SUFFIXES))}")
    folders = {file.partition("/")[0] for file in files if "/" in file}
    known = read_names(folders, labels, column) if folders else {}
    for each in sorted(folders - set(known)):
        raise UnknownName.of(f"folder that {labels} has a label for", each, known)

    def sample(file: str) -> Sample:
        return Sample(file, root / file, known.get(file.partition("/")[0], ()) if "/" in file else ())

    return Data(_options.write_spec("folder", name, labels=labels, column=column), Lazy(sample, files))


def _pictures(root: Path) -> list[str]:
    found = []
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = [each for each in folders if not each.startswith(".")]
        inside = Path(place).relative_to(root)
        shown = [each for each in files if not each.startswith(".") and Path(each).suffix.lower() in SUFFIXES]
        found += [(inside / each).as_posix() for each in shown]
    return sorted(found, key=_files.natural_key)
