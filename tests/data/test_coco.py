"""COCO's detection files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salience import specs
from salience.errors import DataError, SettingError
from tests.data.tiny import png, write

SQUARE = [[1, 2, 5, 2, 5, 6, 1, 6]]  # a polygon of 16 of the 96 pixels
RUNS = {"size": [8, 12], "counts": [0, 8, 88]}  # the first column


def thing(photo: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    """Write an annotation."""
    return {"image_id": photo, "category_id": category, "bbox": box, "area": box[2] * box[3], **more}


def wrote(root: Path, things: list[dict[str, Any]], **changed: Any) -> str:
    """Write a file of two pictures and two categories in another folder than the pictures."""
    photos = [{"id": 7 + k, "file_name": f"{k}.png", "width": 12, "height": 8} for k in (0, 1)]
    kinds = [{"id": 3, "name": "dog"}, {"id": 5, "name": "person"}]
    for each in photos:
        write(root / "pictures" / str(each["file_name"]), png())
    said = {"images": photos, "categories": kinds, "annotations": things} | changed
    return f"coco:{write(root / 'annotations' / 'some.json', json.dumps(said))}?images={root / 'pictures'}"


THINGS = [
    thing(8, 3, [0, 0, 2, 2], segmentation=SQUARE),
    thing(7, 5, [1, 2, 4, 4], segmentation=SQUARE),
    thing(7, 3, [1, 1, 2, 3], segmentation=SQUARE),
    thing(7, 5, [0, 0, 1, 8], segmentation=RUNS, iscrowd=1),
]


def test_a_sample_is_a_category_in_a_picture_with_all_its_boxes(tmp_path: Path) -> None:
    """In the order of pictures and categories, whatever the order of annotations."""
    found = specs.open_data(wrote(tmp_path, THINGS))
    assert [each.id for each in found.samples] == ["0.png:dog", "0.png:person", "1.png:dog"]
    assert found[1].labels == ("person",)
    assert found[1].boxes == ((1, 2, 5, 6), (0, 0, 1, 8))
    assert found[1].picture == tmp_path / "pictures" / "0.png"


def test_a_mask_is_the_union_of_polygons_and_run_lengths(tmp_path: Path) -> None:
    """Of the category's objects; without a segmentation of each, boxes are the truth."""
    known = np.zeros((8, 12), dtype=np.uint8)
    known[2:6, 1:5] = known[:, 0] = 255
    spec = wrote(tmp_path, [*THINGS, thing(8, 3, [3, 3, 1, 1])])
    assert np.array_equal(specs.open_data(spec)[1].mask, known)
    assert specs.open_data(spec)[2].mask is None
    assert all(each.mask is None for each in specs.open_data(f"{spec}&masks=no").samples)


def test_crowds_and_small_objects_can_be_left_out(tmp_path: Path) -> None:
    """Six of 96 pixels are 0.0625 of the picture."""
    spec = wrote(tmp_path, THINGS)
    assert specs.open_data(spec, crowd=False)[1].boxes == ((1, 2, 5, 6),)
    assert len(specs.open_data(f"{spec}&min_area=0.0625")) == 2
    assert [each.id for each in specs.open_data(f"{spec}&min_area=0.07").samples] == ["0.png:person"]


def test_labels_translate_categories_and_leave_out_the_unknown(tmp_path: Path) -> None:
    """A network's classes are seldom COCO's."""
    labels = write(tmp_path / "labels.csv", "coco_class,imagenet_indices\ndog,151;152\n")
    found = specs.open_data(wrote(tmp_path, THINGS), labels=labels)
    assert [(each.id, each.labels) for each in found.samples] == [("0.png:dog", (151, 152)), ("1.png:dog", (151, 152))]


@pytest.mark.parametrize(
    ("things", "changed", "options", "said"),
    [
        (THINGS, {"images": None}, "", "expected COCO's images, annotations and categories"),
        ([{"image_id": 7}], {}, "", "missing required field `category_id`"),
        ([thing(9, 3, [0, 0, 1, 1])], {}, "", "annotations of known pictures and categories, got one of 9, 3"),
        ([], {}, "", "expected objects in .*, got none with these options"),
        ([thing(7, 3, [0, 0, 1, 1])], {}, "/deep", "expected the folder of the pictures at .*deep, got nothing there"),
        ([thing(7, 3, [0, 0, 1, 1])], {}, "/..", "expected the pictures of the index, got no .*: give images=FOLDER"),
    ],
)
def test_a_wrong_file_is_said(tmp_path: Path, things: list[Any], changed: dict[str, Any], options: str, said: str) -> None:
    """What is missing, or names what is not there."""
    with pytest.raises(DataError, match=said):
        specs.open_data(wrote(tmp_path, things, **changed) + options)


def test_wrong_options_and_damage_are_said(tmp_path: Path) -> None:
    """A half word, a share above one, half a file."""
    spec = wrote(tmp_path, THINGS)
    with pytest.raises(SettingError, match="expected yes or no for crowd, got 'maybe'"):
        specs.open_data(f"{spec}&crowd=maybe")
    with pytest.raises(SettingError, match="expected 0 ≤ min_area ≤ 1, got 5"):
        specs.open_data(f"{spec}&min_area=5")
    with pytest.raises(DataError, match="expected JSON in .*half.json, got something else"):
        specs.open_data("coco:" + str(write(tmp_path / "half.json", '{"images": [')))


def test_the_real_file_has_the_boxes_of_its_table(data: Path) -> None:
    """Its target objects are those of coco_boxes.csv, which also names ImageNet's classes."""
    path = data / "localisation"
    table = {each.id: each for each in specs.open_data(f"csv:{path}/coco_boxes.csv").samples}
    found = specs.open_data(f"coco:{path}/coco.json?labels={path}/coco_boxes.csv")
    named = {
        each.id.partition(":")[0]: each for each in found.samples if each.labels == table[each.id.partition(":")[0]].labels
    }
    assert len({each.id.partition(":")[0] for each in specs.open_data(f"coco:{path}/coco.json").samples}) == 77
    assert set(named) == set(table)
    for file, sample in named.items():
        assert np.allclose(sorted(sample.boxes), sorted(table[file].boxes), atol=0.011)
