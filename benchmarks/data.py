"""Real boxes and pictures from the data folder (`SALIENCE_DATA`), for tests and benchmarks.

`py:benchmarks.data:vit_tiny` and the like are boxes for the command line too.
"""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from salience import registry
from salience.boxes._module import read_weights
from salience.boxes.torch import TorchBox
from salience.picture import Preparation, read
from salience.types import BlackBox, Image, Region


def folder() -> Path | None:
    """Return the data folder: `SALIENCE_DATA`, or `../shared/data` where it exists."""
    path = Path(os.environ.get("SALIENCE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    return path if (path / "models").is_dir() else None


def needed() -> Path:
    """Return the data folder or say that it is missing."""
    path = folder()
    if path is None:
        raise SystemExit("expected the data folder, got none: set SALIENCE_DATA")
    return path


def vit_tiny(lane: str = "auto") -> BlackBox:
    """ViT-tiny on ImageNet, 16-pixel patches."""
    return registry.box("timm:vit_tiny_patch16_224", weights=_weights("vit_tiny_patch16_224.fp16"), resize=248, lane=lane)


def mobilenet_v2(lane: str = "auto") -> BlackBox:
    """MobileNetV2 on ImageNet, from Coral's TensorFlow Lite file."""
    how = {"resize": 256, "size": 224, "filter": "bilinear", "mean": 0.5, "std": 0.5, "pad_type": "same"}
    return registry.box("timm:mobilenetv2_100", weights=_weights("mobilenetv2_100_same.fp16"), lane=lane, **how)


def vgg16(lane: str = "auto") -> BlackBox:
    """VGG-16 with global average pooling on the ten Imagenette classes."""
    from torchvision import models

    net = models.vgg16(weights=None)
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Linear(512, 10)
    read_weights(net, _weights("vgg16_gap_imagenette.fp16"))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    names = {int(r["class_index"]): r["class_name"] for r in rows("localisation/imagenette_boxes.csv")}
    classes = [names[index] for index in sorted(names)]
    return TorchBox(net, Preparation((224, 224), None, "bilinear", mean, std), classes, name="vgg16-imagenette", lane=lane)


BOXES: dict[str, Callable[..., BlackBox]] = {
    "efficientnet-lite0": lambda lane="auto": registry.box("default", lane=lane),
    "vit-tiny": vit_tiny,
    "mobilenet-v2": mobilenet_v2,
    "vgg16": vgg16,
}


@dataclass(frozen=True)
class Case:
    """A photograph with what is in it and where."""

    file: Path
    classes: tuple[int, ...]  # right answers, ImageNet indices
    boxes: tuple[tuple[int, int, int, int], ...]  # xmin, ymin, xmax, ymax in pixels of the file

    def prepared(self, box: BlackBox) -> tuple[Image, Region]:
        """Return the image for a box and the truth at the same size."""
        picture = read(self.file)
        image, geometry = box.preparation(picture)  # type: ignore[attr-defined]  # all boxes here have one
        truth = torch.zeros(picture.size)
        for left, top, right, bottom in self.boxes:
            truth[top:bottom, left:right] = 1
        return image, geometry.project(truth) > 0.5


def cases(*sources: str) -> list[Case]:
    """Read the pictures with boxes: "imagenette" (200 of ImageNet's validation set) and "coco" (77)."""
    found: dict[Path, Case] = {}
    for source in sources or ("imagenette", "coco"):
        for row in rows(f"localisation/{source}_boxes.csv"):
            file = needed() / "localisation" / source / Path(row["file"]).name
            answers = row["class_index"] if source == "imagenette" else row["imagenet_indices"]
            corners = tuple(int(float(row[key])) for key in ("xmin", "ymin", "xmax", "ymax"))
            known = found.get(file)
            boxes = (*(known.boxes if known else ()), corners)
            found[file] = Case(file, tuple(int(each) for each in answers.split(";")), boxes)
    return list(found.values())


def drawn(cases: list[Case], count: int, seed: int = 0) -> list[Case]:
    """Draw some by seed."""
    return random.Random(seed).sample(cases, min(count, len(cases)))


def recognised(cases: list[Case], box: BlackBox) -> Iterator[tuple[Case, Image, Region, int]]:
    """Keep the cases that the box gets right, with their image, truth and class."""
    for case in cases:
        image, truth = case.prepared(box)
        top = int(box(image[None].to(box.device))[0].argmax())
        if top in case.classes and bool(truth.any()):
            yield case, image, truth, top


def photographs() -> list[Path]:
    """List the 200 ImageNet samples."""
    return sorted((needed() / "images" / "imagenet").glob("*.jpg"))


def rows(file: str) -> list[dict[str, str]]:
    """Read a table of the data folder."""
    with (needed() / file).open(newline="") as opened:
        return list(csv.DictReader(opened))


def _weights(name: str) -> str:
    return str(needed() / "models" / f"{name}.safetensors")
