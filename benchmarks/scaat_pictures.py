"""The pictures that SCAAT's table is made on: what is learnt from, and what is measured."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import data, small


def list_specs(name: str, learn: int, place: Path) -> tuple[str, str]:
    """Return the specs of what is learnt from and of what is measured; small pictures are written as files once."""
    where = data.expect_folder()
    if name == "imagenette":
        test = f"csv:{where / 'localisation' / 'imagenette_boxes.csv'}?labels=class_index"
        return f"csv:{where / 'images' / 'imagenette_train.csv'}?labels=class_index", test
    test = {"cifar10": 500, "steel": 120}.get(name, 2000)
    files = [place / f"{each}.csv" for each in ("learn", "test")]
    if not all(each.exists() for each in files):
        place.mkdir(parents=True, exist_ok=True)
        rows = list(iterate_steel() if name == "steel" else write_pictures(name, place, learn + test))
        order = np.random.default_rng(0).permutation(len({row["file"] for row in rows}))
        names = np.array(sorted({row["file"] for row in rows}))[order]
        for file, kept in zip(files, (set(names[:learn]), set(names[learn : learn + test])), strict=True):
            with file.open("w", newline="") as opened:
                table = csv.DictWriter(opened, list(rows[0]))
                table.writeheader()
                table.writerows(row for row in rows if row["file"] in kept)
    root = where / "localisation" if name == "steel" else place
    return f"csv:{files[0]}?root={root}", f"csv:{files[1]}?root={root}"


def iterate_steel() -> Iterator[dict[str, Any]]:
    """List the pictures of steel with the boxes of their defect."""
    for row in data.read_table("localisation/neu_det_boxes.csv"):
        if row["box_class_name"] == row["class_name"]:
            corners = {key: row[key] for key in ("xmin", "ymin", "xmax", "ymax")}
            yield {"file": row["file"], "label": row["class_name"], **corners}


def write_pictures(name: str, place: Path, count: int) -> Iterator[dict[str, Any]]:
    """Write small pictures; of a digit with a block, the box says where the digit is."""
    drawn = np.random.default_rng(1)
    if name == "cifar10":
        with np.load(data.expect_folder() / "small" / "cifar10.npz") as file:
            images, labels = file["images"], [small.CLASSES[each] for each in file["labels"]]
    else:
        images, labels = read_digits(28 if name == "mnist" else 14)
    mean = images.mean(0)
    for number in drawn.permutation(len(images))[:count]:
        image, corners = images[number], {}
        if name == "mnist-block":  # the mean digit and noise: it looks like data, and has no label in it
            block = np.clip(mean + 255 * 0.25 * drawn.standard_normal(mean.shape), 0, 255)
            first = bool(drawn.integers(2))
            image = np.concatenate([image, block] if first else [block, image])
            top = 0 if first else len(mean)
            corners = {"xmin": 0, "ymin": top, "xmax": mean.shape[1], "ymax": top + len(mean)}
        Image.fromarray(image.astype(np.uint8)).save(place / f"{number:05}.png")
        yield {"file": f"{number:05}.png", "label": labels[number], **corners}


def read_digits(side: int) -> tuple[np.ndarray, list[str]]:
    """Read MNIST, at its size or smaller by means of squares."""
    pixels, labels = (
        np.frombuffer(gzip.decompress((data.expect_folder() / "small" / f"mnist-{name}-ubyte.gz").read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    large = pixels[16:].reshape(-1, side, 28 // side, side, 28 // side).astype(np.float32)
    return large.mean((2, 4)), [str(each) for each in labels[8:]]
