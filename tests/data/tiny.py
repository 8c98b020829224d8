"""A tiny data set of every kind: two pictures, of a tench and of a dog."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as pil

COLOURS = {"tench": (200, 30, 30), "dog": (30, 200, 30)}
ANNOTATION = "<annotation><filename>{file}</filename>{objects}</annotation>"
OBJECT = (
    "<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
    "<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
)


def png(name: str = "tench", width: int = 12, height: int = 8) -> bytes:
    """Encode a picture of one colour."""
    made = io.BytesIO()
    pil.fromarray(np.full((height, width, 3), COLOURS[name], dtype=np.uint8)).save(made, "PNG")
    return made.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def folder(root: Path, show: Callable[[str], bytes] = png) -> str:
    """Make a folder a class."""
    for name in COLOURS:
        write(root / "folder" / name / "1.png", show(name))
    return f"folder:{root / 'folder'}"


def csv(root: Path, show: Callable[[str], bytes] = png) -> str:
    """Make a table with a row a picture."""
    for name in COLOURS:
        write(root / f"{name}.png", show(name))
    table = "file,label,xmin,ymin,xmax,ymax\ntench.png,tench,1,2,5,6\ndog.png,dog,0,0,4,4\n"
    return f"csv:{write(root / 'table.csv', table)}"


def coco(root: Path, show: Callable[[str], bytes] = png) -> str:
    """Make a file with one object a picture."""
    found = {
        "images": [{"id": k, "file_name": f"{name}.png", "width": 12, "height": 8} for k, name in enumerate(COLOURS)],
        "categories": [{"id": 10 + k, "name": name} for k, name in enumerate(COLOURS)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 10 + k, "bbox": [1, 2, 4, 4], "area": 16, "iscrowd": 0} for k in (0, 1)
        ],
    }
    for name in COLOURS:
        write(root / f"{name}.png", show(name))
    return f"coco:{write(root / 'coco.json', json.dumps(found))}"


def voc(root: Path, show: Callable[[str], bytes] = png) -> str:
    """Make a folder of one year's form."""
    for name in COLOURS:
        objects = OBJECT.format(name=name, hard=0, box=(2, 3, 5, 6))
        write(root / "voc" / "Annotations" / f"{name}.xml", ANNOTATION.format(file=f"{name}.png", objects=objects))
        write(root / "voc" / "JPEGImages" / f"{name}.png", show(name))
    return f"voc:{root / 'voc'}"


def hf(root: Path, show: Callable[[str], bytes] = png) -> str:
    """Save a data set as the real package does."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(COLOURS))})
    rows = {"image": [{"bytes": show(name), "path": None} for name in COLOURS], "label": [0, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(root / "hf")
    return f"hf:{root / 'hf'}"


def webdataset(root: Path, show: Callable[[str], bytes] = png) -> str:
    """Write two shards of one sample each."""
    for number, name in enumerate(COLOURS):
        with tarfile.open(root / f"shard-{number:03d}.tar", "w") as opened:
            for ending, content in (("png", show(name)), ("txt", name.encode())):
                head = tarfile.TarInfo(f"sample{number}.{ending}")
                head.size = len(content)
                opened.addfile(head, io.BytesIO(content))
    return f"webdataset:{root}/shard-{{000..001}}.tar"


def shapes(root: Path, show: Callable[[str], bytes] = png) -> str:
    """Name scenes; nothing is written."""
    return "shapes:distractors?count=2&size=32"


KINDS: dict[str, Callable[..., str]] = {each.__name__: each for each in (folder, csv, coco, voc, hf, webdataset, shapes)}
