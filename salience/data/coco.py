"""`coco:FILE.json`: COCO's detection files, a sample a picture and category, as the pointing game asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from salience import limits
from salience.case import Data, Sample
from salience.data import _files, _masks, _options
from salience.data._lazy import Lazy
from salience.data._tables import Label, read_names
from salience.errors import DataError

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless

Side = Annotated[int, msgspec.Meta(ge=1, le=limits.PIXELS)]


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
        drawn = [_masks.rasterise_coco(each["segmentation"], self.size) for each in self.objects]
        return np.any(drawn, axis=0).astype(np.uint8) * 255

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.photo["height"], self.photo["width"]

    def boxes(self, where: str) -> tuple[tuple[float, float, float, float], ...]:
        """Read the objects' corners."""
        corners = ((x, y, x + width, y + height) for x, y, width, height in (each["bbox"] for each in self.objects))
        return tuple(_masks.expect_box(*each, where, self.size) for each in corners)


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
    pairs = _pairs(_expect_coco(_files.read_json(path), path), crowd=crowds)
    known = read_names({each.category for each in pairs}, labels, column) if pairs else {}
    wanted = [each for each in pairs if each.category in known and (not least or each.share >= least)]
    root = path.parent if images is None else _files.expect_path(images, "the folder of the pictures")
    files = [str(each.photo["file_name"]) for each in wanted]
    if not wanted:
        raise DataError(f"expected objects in {path}, got none with these options: loosen them")
    _files.expect_first(root / files[0], "give images=FOLDER")
    given = {"images": images, "labels": labels, "column": column}
    given |= {"masks": None if drawn else "no", "crowd": None if crowds else "no", "min_area": least or None}
    return Data(
        _options.write_spec("coco", name, **given),
        Lazy(lambda one: _sample(one, path, root, known, with_mask=drawn), wanted),
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


def _sample(one: _Pair, path: Path, root: Path, known: Mapping[str, tuple[Label, ...]], *, with_mask: bool) -> Sample:
    file = str(one.photo["file_name"])
    where = f"{file} of {path}"
    try:
        boxes, mask = one.boxes(where), one.mask() if with_mask else None
    except DataError as problem:
        raise DataError(str(problem) if where in str(problem) else f"{problem} (in {where})") from None
    return Sample(f"{file}:{one.category}", root / file, known[one.category], boxes, mask)


class _Photo(msgspec.Struct):
    """What is read of a picture."""

    id: int | str
    file_name: str
    width: Side
    height: Side


class _Object(msgspec.Struct):
    """What is read of an object; its segmentation when it is drawn."""

    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    area: float | None = None


class _Category(msgspec.Struct):
    """What is read of a category."""

    id: int | str
    name: str


class _File(msgspec.Struct):
    """What is read of a file."""

    images: list[_Photo]
    annotations: list[_Object]
    categories: list[_Category]


def _expect_coco(said: Any, path: Path) -> Any:
    """Expect COCO's tables."""
    try:
        msgspec.convert(said, _File)
    except ValueError as problem:  # also a text that is no Unicode
        raise DataError(
            f"expected COCO's images, annotations and categories in {path}, got others ({problem}): mend it"
        ) from None
    return said
