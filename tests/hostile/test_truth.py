"""Where an object is: what cannot be is a sentence that names file and picture, never an empty truth."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salience import specs
from salience.case import Sample
from salience.errors import SalienceError
from salience.picture import Geometry
from salience.tasks.truth import make_truth
from tests.bench import tiny

NAN, INF = float("nan"), float("inf")
BOXES = [(1, 1, NAN, 4), (1, 1, INF, 4), (-INF, 1, 4, 4), (5, 1, 2, 4), (1, 1, 1, 4), (-9, -9, -2, -2), (90, 90, 99, 99)]
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]
SEGMENTS: list[Any] = [
    [[1, 1, 5, 5]], [[1, 1, 5, 1, 5]], [SQUARE[:-1]], [[NAN, *SQUARE[1:]]], [[INF, *SQUARE[1:]]],
    [[each + 90 for each in SQUARE]],
    [[-each for each in SQUARE]], ["x"], "text", 3, [3], {"counts": [1, 2]}, {"counts": [-1, 65]}, {"counts": ["64"]},
    {"counts": [64.5]}, {"counts": "\x00"}, {"counts": "o" * 10_000}, {"counts": "~"}, {"size": [8, 8]},
    {"counts": [32, 32], "size": [4, 16]}, [[]], {"counts": [10**30]},
]  # fmt: skip


def write_coco(folder: Path, box: Any = (1, 1, 4, 4), segment: Any = None, **photo: Any) -> str:
    """Write a picture with one object."""
    (folder / "a.png").write_bytes(b"")
    one = {"image_id": 1, "category_id": 1, "bbox": box} | ({} if segment is None else {"segmentation": segment})
    about = {"id": 1, "file_name": "a.png", "width": 8, "height": 8} | photo
    said = {"images": [about], "annotations": [one], "categories": [{"id": 1, "name": "ant"}]}
    (folder / "some.json").write_text(json.dumps(said))
    return f"coco:{folder / 'some.json'}"


def read_first(spec: str) -> str:
    """Return what is said when the first sample is read; the type checker of the tests may read it earlier."""
    try:
        specs.open_data(spec)[0]
    except Exception as problem:
        chain: list[BaseException] = [problem]
        while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(before)
        said = [str(each) for each in chain if isinstance(each, SalienceError)]
        if said:
            return said[0]
        raise
    return "nothing"


@pytest.mark.parametrize("box", BOXES)
def test_a_box_that_cannot_be_is_refused_by_coco(box: tuple[float, ...], tmp_path: Path) -> None:
    """Not finite, inverted, empty, or beside the picture."""
    left, top, right, bottom = box
    said = read_first(write_coco(tmp_path, (left, top, right - left, bottom - top)))
    assert re.fullmatch(r"expected a box .* in a.png of .*some.json: mend it", said)


@pytest.mark.parametrize("segment", SEGMENTS, ids=[str(each)[:30] for each in SEGMENTS])
def test_a_mask_that_cannot_be_is_refused_by_coco(segment: Any, tmp_path: Path) -> None:
    """Too few points, odd ones, run lengths of another picture or damaged."""
    said = read_first(write_coco(tmp_path, segment=segment))
    assert re.fullmatch(r"expected .* \(in a.png of .*some.json\)", said)


@pytest.mark.parametrize("photo", [{"width": 0}, {"height": -8}, {"width": "8"}, {"width": 10**12}, {"file_name": 3}])
def test_a_picture_of_no_size_is_refused_by_coco(photo: dict[str, Any], tmp_path: Path) -> None:
    """A division by zero, once."""
    with pytest.raises(SalienceError, match=r"expected COCO's images, annotations and categories in .*some.json"):
        specs.open_data(write_coco(tmp_path, **photo))


@pytest.mark.parametrize("box", BOXES)
def test_a_box_that_cannot_be_is_refused_by_voc_and_csv(box: tuple[float, ...], tmp_path: Path) -> None:
    """A table knows no size of its pictures: there the bench says it of the picture."""
    (tmp_path / "Annotations").mkdir()
    corners = "".join(f"<{name}>{each}</{name}>" for name, each in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    size = "<size><width>8</width><height>8</height></size>"
    text = f"<annotation>{size}<object><name>ant</name><bndbox>{corners}</bndbox></object></annotation>"
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    if box != BOXES[4]:  # VOC's last pixel is included
        with pytest.raises(SalienceError, match=r"expected a box .* in an object of .*a.xml"):
            specs.open_data(f"voc:{tmp_path}")
    (tmp_path / "t.csv").write_text("file,xmin,ymin,xmax,ymax\na.png," + ",".join(map(str, box)))
    (tmp_path / "a.png").write_bytes(b"")
    if box != BOXES[6]:
        with pytest.raises(SalienceError, match=r"expected a box .* in row 1 of .*t.csv, a.png"):
            specs.open_data(f"csv:{tmp_path / 't.csv'}")


@pytest.mark.parametrize(
    "truth",
    [{"boxes": (each,)} for each in (BOXES[1], BOXES[6], (1.2, 1.2, 1.8, 1.8))] + [{"mask": np.zeros((8, 8), np.uint8)}],
)
def test_a_truth_without_a_pixel_is_said(truth: dict[str, Any]) -> None:
    """Every measure of a place would be 0 or not defined, and nobody would know why."""
    with pytest.raises(SalienceError, match="expected .* for ant"):
        make_truth(Sample("ant", None, **truth), Geometry((8, 8), (8, 8), (0, 8, 0, 8)))


@pytest.mark.parametrize("label", ["9" * 5000, "x" * 20_000])
def test_a_label_that_goes_on_and_on_is_one_sentence(label: str, tmp_path: Path) -> None:
    """Python refuses to read a number of 5,000 digits."""
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "t.csv").write_text(f"file,label\na.png,{label}")
    with pytest.raises(SalienceError, match=r"expected a label of a class in row 1 of .*t.csv, a.png, got .* letters"):
        specs.open_data(f"csv:{tmp_path / 't.csv'}")


def test_a_truth_that_cannot_be_read_is_a_row_of_a_bench_and_the_rest_goes_on(tmp_path: Path) -> None:
    """It ended the run, after hours."""
    from PIL import Image

    lines = ["file,label,xmin,ymin,xmax,ymax"]
    for number in range(3):
        Image.new("RGB", (32, 32), (200, 9 * number, 9)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,red," + ("90,90,99,99" if number == 1 else "4,4,20,20"))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    raw = tiny.RAW | {"methods": {"gradient": {}}, "controls": False, "data": {"t": f"csv:{tmp_path / 't.csv'}"}}
    (tmp_path / "run").mkdir()
    found = tiny.run(tmp_path / "run", raw)
    assert [row["picture"] for row in found if row["failure"] != "None"] == ["'1.png'"]
    assert len(found) == 2 * 3 + 1
