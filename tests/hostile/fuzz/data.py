"""Data sets, grids and journals: odd specs, and files of tables, indices and settings, damaged or of another sense."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from salience import specs
from salience.bench import grid as grids
from salience.bench import rows
from salience.bench.journal import Journal
from salience.picture import Geometry, read
from salience.tasks.truth import make_truth
from tests.hostile.fuzz import files, pictures, values
from tests.hostile.fuzz.judge import Kind, WrongError

GRID: dict[str, Any] = {
    "boxes": {"a": "toy:colour"},
    "methods": {"rise": {"masks": 8, "budget": "20 passes"}, "g": {"name": "gradient"}},
    "data": {"d": {"spec": "shapes:plain", "count": 4, "size": 32, "pictures": 2, "draw": 1}},
    "measures": ["sparsity", "deletion/rise-2018"],
    "seeds": [0, 1],
    "right": True,
}
TOML = b"""measures = ["sparsity"]
seeds = [0]
boxes.a = "toy:colour"
methods.rise = { masks = 8, budget = "20 passes" }
data.d = { spec = "shapes:plain", count = 4, size = 32, pictures = 2 }
"""
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}],
    "categories": [{"id": 1, "name": "red"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "iscrowd": 0, "segmentation": [[1, 1, 5, 1, 5, 5]]},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 1, 4, 4],
            "iscrowd": 1,
            "segmentation": {"size": [9, 9], "counts": [40, 20, 21]},
        },
    ],
}
VOC = b"""<annotation><filename>a.jpg</filename>
<size><width>9</width><height>9</height><depth>3</depth></size><object><name>red</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>"""
CSV = b"image,label,left,top,right,bottom\na.png,red,1,1,4,4\na.png,0,2,2,5,5\n"
ROWS = [
    {
        "cell": "x",
        "data": "d",
        "box": "a",
        "measure": "sparsity/gini",
        "better": "higher",
        "method": "rise",
        "seed": 0,
        "picture": "1",
        "value": 0.5,
    }
]
KINDS = (
    "shapes:plain",
    "shapes:",
    "folder:pictures",
    "csv:t.csv",
    "coco:c.json",
    "voc:voc",
    "webdataset:a.tar",
    "nope:x",
    ":",
    "hf:",
)
OPTIONS = (
    "count",
    "size",
    "seed",
    "labels",
    "column",
    "label",
    "image",
    "boxes",
    "mask",
    "pictures",
    "split",
    "x",
    "name",
    "masks",
    "root",
)


def write_tar() -> bytes:
    """Write a tar of one labelled picture."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in (("a.png", pictures.write_good("png")), ("a.cls", b"0")):
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return file.getvalue()


def lay_out(folder: Path, changed: str, change: Any) -> None:
    """Write data sets of all kinds into a folder, one of their files changed."""
    index = json.dumps(
        files._replace(COCO, change[1], change[2]) if changed == "c.json" and change[0] == "edit" else COCO
    ).encode()
    wholes = {
        "a.png": pictures.write_good("png"),
        "pictures/red/a.png": pictures.write_good("png"),
        "t.csv": CSV,
        "c.json": index,
        "a.tar": write_tar(),
        "voc/Annotations/a.xml": VOC,
        "voc/JPEGImages/a.jpg": pictures.write_good("jpeg"),
        "voc/ImageSets/Main/val.txt": b"a\n",
    }
    for name, content in wholes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(
            values.damage(content, change[1]) if name == changed and change[0] == "damage" else content
        )


def run_data(recipe: Any, folder: Path) -> None:
    """Open a data set and read its samples."""
    spec, options, changed, change = recipe
    lay_out(folder, changed, change)
    data = specs.open_data(spec, **{key: values.make(each) for key, each in options.items()})
    for number in range(min(2, len(data))):
        sample = data[number]
        picture = read(sample.picture)
        truth = make_truth(sample, Geometry(picture.size, (8, 8), (0, picture.size[0], 0, picture.size[1])))
        if truth is not None and (truth.shape != (8, 8) or truth.dtype != torch.bool):
            raise WrongError("a truth that is no region")


def run_grid(recipe: Any, folder: Path) -> None:
    """Read a grid."""
    way, given = recipe
    if way == "damage":
        (folder / "g.toml").write_bytes(values.damage(TOML, given))
        grids.read_grid(folder / "g.toml")
    else:
        grids.parse_grid(files._replace(GRID, given[0], values.make(given[1])))


def run_journal(recipe: Any, folder: Path) -> None:
    """Read the rows of a run whose journal is damaged."""
    (folder / "cells").mkdir()
    Journal(folder / "cells" / "x.jsonl", "digest").add("1", ROWS)
    file = folder / "cells" / "x.jsonl"
    way, given = recipe
    content = file.read_bytes()
    if way == "damage":
        file.write_bytes(values.damage(content, given))
    else:
        lines = [json.dumps(files._replace(json.loads(line), *given)) for line in content.splitlines()]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows.read_rows(folder)


paths = st.lists(st.integers(0, 30), min_size=1, max_size=5)
edit = st.tuples(paths, st.one_of(values.plain, st.just("remove")))
DATA_KIND = Kind(
    "data sets",
    st.tuples(
        st.one_of(st.sampled_from(KINDS), values.anything),
        st.one_of(st.just({}), st.just({}), st.dictionaries(st.sampled_from(OPTIONS), values.anything, max_size=1)),
        st.sampled_from(("", "c.json", "c.json", "t.csv", "a.tar", "voc/Annotations/a.xml", "a.png")),
        st.one_of(st.tuples(st.just("damage"), values.damages), st.builds(lambda pair: ("edit", *pair), edit)),
    ),
    run_data,
    share=6,
)
GRIDS_KIND = Kind(
    "grids", st.one_of(st.tuples(st.just("edit"), edit), st.tuples(st.just("damage"), values.damages)), run_grid, share=6
)
JOURNALS_KIND = Kind(
    "journals", st.one_of(st.tuples(st.just("edit"), edit), st.tuples(st.just("damage"), values.damages)), run_journal
)
