"""`coco:FILE.json`: COCO's detection files, a sample a picture and category, as the pointing game asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from salience.case import Data, Sample
from salience.data import _files, _masks, _options
from salience.data._lazy import Lazy
from salience.data._tables import Label, read_names
from salience.errors import DataError

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless


@dataclass(frozen=True)
class _Pair:
    """A category in a picture."""

    photo: Mapping[str, Any]
    category: str
    objects: Sequence[Mapping[str, Any]]

    @property
    def share(self) -> float:
        """How much of the picture its objects cover, by the file's own areas."""
        covered = sum(each.get("area", each["bbox"][2] * each["bbox"][3]) for each in self.objects)
        return float(covered / (self.photo["width"] * self.photo["height"]))

    def mask(self) -> Any:
        """Draw the objects; None where the file has boxes only."""
        if not all(each.get("segmentation") for each in self.objects):
            return None
        size = (self.photo["height"], self.photo["width"])
        drawn = [_masks.rasterise_coco(each["segmentation"], size) for each in self.objects]
        return np.any(drawn, axis=0).astype(np.uint8) * 255


def load(
    name: str,
    *,
    images: Any = None,
    labels: Any = None,
    column: Any = None,
    masks: Any = True,
    crowd: Any = True,
    min_area: Any = 0,
    **unknown: Any,
) -> Data:
    """Open a COCO file; pictures are sought in `images`, by default the file's folder.

    `labels=FILE` translates categories into names or indices of a box's classes, and leaves out those that it does not
    know. `masks=no` takes boxes; `crowd=no` leaves out what is marked as a crowd, which counts otherwise as in TorchRay's
    benchmark; `min_area` is the share of the picture that the objects must cover.
    """
    _options.expect_known(load, unknown)
    path = _files.expect_path(name, "a COCO file")
    drawn, crowds = _options.read_flag("masks", masks), _options.read_flag("crowd", crowd)
    least = _options.read_number("min_area", min_area, 0, 1)
    try:
        pairs = _pairs(_files.read_json(path), crowd=crowds)
        known = read_names({each.category for each in pairs}, labels, column) if pairs else {}
        wanted = [each for each in pairs if each.category in known and each.share >= least]
        root = path.parent if images is None else _files.expect_path(images, "the folder of the pictures")
        files = [str(each.photo["file_name"]) for each in wanted]
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise DataError(
            f"expected COCO's images, annotations and categories in {path}, got a file without {problem}"
        ) from None
    if not wanted:
        raise DataError(f"expected objects in {path}, got none with these options: loosen them")
    _files.expect_first(root / files[0], "give images=FOLDER")
    given = {"images": images, "labels": labels, "column": column}
    given |= {"masks": None if drawn else "no", "crowd": None if crowds else "no", "min_area": least or None}
    return Data(
        _options.write_spec("coco", name, **given), Lazy(lambda one: _sample(one, root, known, with_mask=drawn), wanted)
    )


def _pairs(said: Any, *, crowd: bool) -> list[_Pair]:
    found: dict[tuple[Any, Any], list[Any]] = {}
    for one in said["annotations"]:
        if crowd or not one.get("iscrowd"):
            found.setdefault((one["image_id"], one["category_id"]), []).append(one)
    photos = {each["id"]: each for each in said["images"]}
    names = {each["id"]: each["name"] for each in said["categories"]}
    for photo, category in found:
        if photo not in photos or category not in names:
            raise DataError(
                f"expected annotations of known pictures and categories, got one of {photo}, {category}: mend it"
            )
    return [
        _Pair(photos[photo], names[category], found[photo, category])
        for photo in photos
        for category in names
        if (photo, category) in found
    ]


def _sample(one: _Pair, root: Path, known: Mapping[str, tuple[Label, ...]], *, with_mask: bool) -> Sample:
    file = str(one.photo["file_name"])
    boxes = tuple((x, y, x + width, y + height) for x, y, width, height in (each["bbox"] for each in one.objects))
    return Sample(f"{file}:{one.category}", root / file, known[one.category], boxes, one.mask() if with_mask else None)
