"""`voc:PATH`: PASCAL VOC, a sample a picture and class, as the pointing game asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image as pil

from salience import limits
from salience.case import Data, Sample
from salience.data import _files, _masks, _options
from salience.data._lazy import Lazy
from salience.data._tables import Label, read_names
from salience.errors import DataError

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Pair:
    """A class in a picture."""

    file: str
    category: str
    boxes: tuple[Box, ...]
    numbers: tuple[int, ...]  # of its objects in the picture, from 1: their values in SegmentationObject
    difficult: bool  # all of them


def load(
    name: str,
    *,
    split: Any = None,
    year: Any = None,
    labels: Any = None,
    column: Any = None,
    masks: Any = False,
    difficult: Any = False,
    **unknown: Any,
) -> Data:
    """Open a folder with `Annotations` and `JPEGImages`, or one with VOCdevkit's years in it.

    `split=val` keeps the pictures of ImageSets/Main/val.txt. Truth are the boxes of the class, those marked difficult
    too; where all of a class are, the pair counts with `difficult=yes` only, as in TorchRay's benchmark. `masks=yes`
    keeps the pictures that have one in SegmentationObject. `labels=FILE` translates the classes, and leaves out those
    that it does not know.
    """
    _options.expect_known(load, unknown)
    root = _root(_files.expect_path(name, "a folder of PASCAL VOC"), year)
    drawn, hard = _options.read_flag("masks", masks), _options.read_flag("difficult", difficult)
    pairs = [pair for stem in _stems(root, split) for pair in _pairs(root / "Annotations" / f"{stem}.xml")]
    pairs = [each for each in pairs if (hard or not each.difficult) and (not drawn or _drawing(root, each).exists())]
    known = read_names({each.category for each in pairs}, labels, column) if pairs else {}
    wanted = [each for each in pairs if each.category in known]
    if not wanted:
        raise DataError(f"expected objects in {root}, got none with these options: loosen them")
    _files.expect_first(root / "JPEGImages" / wanted[0].file, "put them beside Annotations")
    given = {"split": split, "year": year, "labels": labels, "column": column}
    given |= {"masks": drawn or None, "difficult": hard or None}

    def sample(one: _Pair) -> Sample:
        place = _mask(_drawing(root, one), one) if drawn else None
        answers: tuple[Label, ...] = known[one.category]
        return Sample(f"{one.file}:{one.category}", root / "JPEGImages" / one.file, answers, one.boxes, place)

    return Data(_options.write_spec("voc", name, **given), Lazy(sample, wanted))


def _root(path: Path, year: Any) -> Path:
    if (path / "Annotations").is_dir():
        return path
    found = sorted(each.parent for each in (*path.glob("VOC*/Annotations"), *path.glob("VOCdevkit/VOC*/Annotations")))
    years = [each.name.removeprefix("VOC") for each in found]
    if year is not None and str(year) in years:
        return found[years.index(str(year))]
    if not found:
        raise DataError(
            f"expected Annotations and JPEGImages in {path}, or VOC2012 and the like, got neither: check the path"
        )
    if year is None and len(found) == 1:
        return found[0]
    raise DataError(f"expected one of the years in {path}, got {year}: give year={', year='.join(years)}")


def _stems(root: Path, split: Any) -> list[str]:
    if split is None:
        return sorted((each.stem for each in (root / "Annotations").glob("*.xml")), key=_files.natural_key)
    path = _files.expect_path(root / "ImageSets" / "Main" / f"{split}.txt", "the list of the split")
    return [line.split()[0] for line in limits.read_text(path, limits.TEXT).splitlines() if line.strip()]


def _pairs(path: Path) -> list[_Pair]:
    try:
        tree = ET.fromstring(limits.read_bytes(_files.expect_path(path, "an annotation"), limits.HEADER))  # noqa: S314  # a file of the user's own
        file = tree.findtext("filename") or path.stem
        objects = [
            (each.findtext("name", ""), _box(each, path, _size(tree)), each.findtext("difficult") == "1")
            for each in tree.iter("object")
        ]
    except (OSError, ET.ParseError, ValueError) as problem:
        raise DataError(f"expected a PASCAL VOC annotation in {path}, got something else ({problem})") from None
    found = []
    for category in dict.fromkeys(name for name, _, _ in objects):
        mine = [(number, box, hard) for number, (name, box, hard) in enumerate(objects, 1) if name == category]
        numbers, boxes, hard = zip(*mine, strict=True)
        suffix = Path(file).suffix or ".jpg"
        found.append(_Pair(path.stem + suffix, category, boxes, numbers, all(hard)))
    return found


def _box(one: ET.Element, path: Path, size: tuple[int, int] | None) -> Box:
    """Read corners, which VOC counts from 1, the last pixel included."""
    left, top, right, bottom = (float(one.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
    return _masks.expect_box(left - 1, top - 1, right, bottom, f"an object of {path}", size)


def _size(tree: ET.Element) -> tuple[int, int] | None:
    """Read the picture's height and width, where they are said."""
    height, width = (int(tree.findtext(f"size/{side}") or 0) for side in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None


def _drawing(root: Path, one: _Pair) -> Path:
    return root / "SegmentationObject" / f"{Path(one.file).stem}.png"


def _mask(path: Path, one: _Pair) -> Any:
    try:
        with pil.open(limits.expect_file(path, limits.PICTURE)) as opened:
            mode, values = opened.mode, np.asarray(opened)
    except (OSError, ValueError, pil.DecompressionBombError) as problem:
        raise DataError(f"expected the objects of {one.file} in {path}, got no picture ({problem}): get it anew") from None
    if mode not in ("P", "L"):
        raise DataError(f"expected a palette of objects in {path}, got a picture in {mode}: give VOC's own file")
    place = np.isin(values, one.numbers)
    if not place.any():
        raise DataError(f"expected objects {', '.join(map(str, one.numbers))} of {one.file} in {path}, got none of them")
    return place.astype(np.uint8) * 255
