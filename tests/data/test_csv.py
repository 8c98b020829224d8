"""Tables of pictures and boxes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from salience import specs
from salience.errors import DataError, SettingError, UnknownName
from tests.data.tiny import png, write


def table(root: Path, text: str, /, **options: Any) -> list[tuple[Any, ...]]:
    """Open a table with pictures beside it."""
    for file in ("a.png", "b.png", "deep/a.png"):
        write(root / file, png())
    found = specs.open_data(f"csv:{write(root / 'table.csv', text)}", **options)
    return [(each.id, each.labels, each.boxes) for each in found.samples]


def test_rows_of_one_picture_join_their_boxes(tmp_path: Path) -> None:
    """Wherever in the table they stand; an empty box is none."""
    text = "image,class_index,left,top,right,bottom\na.png,3,0,1,2,3\nb.png,4,,,,\na.png,3,4.5,5,6,7\n"
    assert table(tmp_path, text) == [("a.png", (3,), ((0, 1, 2, 3), (4.5, 5, 6, 7))), ("b.png", (4,), ())]


def test_a_picture_with_two_labels_is_two_samples(tmp_path: Path) -> None:
    """Each with the boxes of its own, so that the truth is the label's; several right answers are one label."""
    text = "file,label,x,y,w,h\na.png,dog,0,1,2,3\na.png,tench,4,4,2,2\nb.png,crane;3,0,0,1,1\n"
    known = [("a.png:dog", ("dog",), ((0, 1, 2, 4),)), ("a.png:tench", ("tench",), ((4, 4, 6, 6),))]
    assert table(tmp_path, text) == [*known, ("b.png", ("crane", 3), ((0, 0, 1, 1),))]


def test_options_name_the_columns(tmp_path: Path) -> None:
    """As text of a spec or as values; `none` leaves a place out."""
    text = "name,kind,x1,y1,x2,y2,drawn\na.png,dog,1,1,2,2,m.png\n"
    options = {"file": "name", "labels": "kind", "root": tmp_path / "deep"}
    assert table(tmp_path, text, **options, box="x1,y1,x2,y2") == [("a.png", ("dog",), ((1, 1, 2, 2),))]
    assert table(tmp_path, text, **options, box=("x1", "y1", "x2", "y2"))[0][2] == ((1, 1, 2, 2),)
    found = specs.open_data(f"csv:{tmp_path}/table.csv?file=name&mask=drawn")
    assert (found[0].picture, found[0].mask, found[0].labels) == (tmp_path / "a.png", tmp_path / "m.png", ())
    assert table(tmp_path, "file,label,x,y,w,h,mask\na.png,1,0,0,1,1,m.png\n", box="none", mask="none")[0][2] == ()


def test_where_keeps_rows_by_a_column_or_a_word(tmp_path: Path) -> None:
    """A right side that is no column is a word."""
    text = "file,label,kind\na.png,dog,dog\nb.png,dog,cat\n"
    assert [each[0] for each in table(tmp_path, text, where="kind==label")] == ["a.png"]
    assert [each[0] for each in table(tmp_path, text, where="kind == cat")] == ["b.png"]


@pytest.mark.parametrize(
    ("text", "options", "error", "said"),
    [
        ("file,label\na.png,1\n", {"labels": "lable"}, UnknownName, "column of table.csv, got 'lable': did you mean label?"),
        ("file,label\na.png,1\n", {"box": "l,t,r,b"}, UnknownName, "column of table.csv, got 'l'"),
        ("file,label\na.png,1\n", {"box": "l,t"}, SettingError, "expected box as four columns, .* got 2"),
        ("file,label\na.png,1\n", {"where": "label=1"}, SettingError, "expected where as column==column"),
        ("file,label\na.png,1\n", {"where": "label==2"}, DataError, "with label==2, got none of 1"),
        ("who,label\na.png,1\n", {}, DataError, "expected a column of files in .*, got who, label: give file=COLUMN"),
        ("file,label\nz.png,1\n", {}, DataError, "expected the pictures of the index, got no .*z.png: give root=FOLDER"),
        (
            "file,xmin,ymin,xmax,ymax\na.png,1,2,x,4\n",
            {},
            DataError,
            "expected four numbers in .* of row 1 of .*, got 1, 2, x, 4",
        ),
        ("file,xmin,ymin,xmax,ymax\na.png,5,2,3,4\n", {}, DataError, "expected a box whose left is less than its right"),
    ],
)
def test_a_wrong_table_is_said(
    tmp_path: Path, text: str, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """With the row and the columns."""
    with pytest.raises(error, match=said):
        table(tmp_path, text, **options)


@pytest.mark.parametrize(
    ("file", "count", "column"),
    [("imagenette", 200, "class_name"), ("coco", 77, "imagenet_indices"), ("neu_det", 240, "class_name")],
)
def test_the_tables_of_the_data_folder_are_read_as_they_are(data: Path, file: str, count: int, column: str) -> None:
    """A sample a picture, all boxes of the table, labels from the column that is meant."""
    path = data / "localisation" / f"{file}_boxes.csv"
    found = specs.open_data(f"csv:{path}")
    with path.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(found) == count
    assert sum(len(each.boxes) for each in found.samples) == len(rows)
    assert all((each.mask is not None) == (file == "coco") for each in found.samples)
    assert ";".join(map(str, found[0].labels)) == rows[0][column]


def test_boxes_of_another_kind_can_be_left_out(data: Path) -> None:
    """Some steel plates have two kinds of defect."""
    path = f"csv:{data}/localisation/neu_det_boxes.csv"
    every, own = specs.open_data(path), specs.open_data(f"{path}?where=box_class_name==class_name")
    assert len(own) == 240
    assert sum(len(each.boxes) for each in own.samples) < sum(len(each.boxes) for each in every.samples)
