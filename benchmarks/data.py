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

import numpy as np
import torch
from torch import nn

from salience import specs
from salience.boxes.torch import TorchBox
from salience.picture import Preparation, read
from salience.runtime.module import read_weights
from salience.types import BlackBox, Image, Region


def find_folder() -> Path | None:
    """Return the data folder: `SALIENCE_DATA`, or `../shared/data` where it exists."""
    path = Path(os.environ.get("SALIENCE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    return path if (path / "models").is_dir() else None


def expect_folder() -> Path:
    """Return the data folder or say that it is missing."""
    path = find_folder()
    if path is None:
        raise SystemExit("expected the data folder, got none: set SALIENCE_DATA")
    return path


def vit_tiny(backend: str = "auto") -> BlackBox:
    """ViT-tiny on ImageNet, 16-pixel patches."""
    return specs.open_box(
        "timm:vit_tiny_patch16_224", weights=find_weights("vit_tiny_patch16_224.fp16"), resize=248, backend=backend
    )


def mobilenet_v2(backend: str = "auto") -> BlackBox:
    """MobileNetV2 on ImageNet, from Coral's TensorFlow Lite file."""
    how = {"resize": 256, "size": 224, "filter": "bilinear", "mean": 0.5, "std": 0.5, "pad_type": "same"}
    return specs.open_box("timm:mobilenetv2_100", weights=find_weights("mobilenetv2_100_same.fp16"), backend=backend, **how)


def efficientnet_lite2(backend: str = "auto") -> BlackBox:
    """EfficientNet-Lite2 on ImageNet, at 260 pixels."""
    how = {"resize": 292, "size": 260, "filter": "bicubic", "mean": 0.5, "std": 0.5}
    return specs.open_box(
        "timm:tf_efficientnet_lite2", weights=find_weights("tf_efficientnet_lite2.fp16"), backend=backend, **how
    )


def vgg16(backend: str = "auto") -> BlackBox:
    """VGG-16 with global average pooling on the ten Imagenette classes."""
    names = {int(r["class_index"]): r["class_name"] for r in read_table("localisation/imagenette_boxes.csv")}
    return TorchBox(_vgg(10), VGG, [names[index] for index in sorted(names)], name="vgg16-imagenette", backend=backend)


def vgg16_steel(backend: str = "auto") -> BlackBox:
    """Load the same convolutions under a head for the six surface defects of NEU-DET."""
    from safetensors.torch import load_file

    net = _vgg(10)
    net.classifier = nn.Linear(512, 6)
    head = {k.removeprefix("classifier."): v for k, v in load_file(find_weights("vgg16_gap_head_neu_det")).items()}
    net.classifier.load_state_dict(head, strict=True)
    names = {int(r["class_index"]): r["class_name"] for r in read_table("localisation/neu_det_boxes.csv")}
    return TorchBox(net, VGG, [names[index] for index in sorted(names)], name="vgg16-steel", backend=backend)


VGG = Preparation((224, 224), None, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _vgg(classes: int) -> nn.Module:
    from torchvision import models

    net = models.vgg16(weights=None)
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Linear(512, classes)
    read_weights(net, find_weights("vgg16_gap_imagenette.fp16"))
    return net


def resnet50(backend: str = "auto") -> BlackBox:
    """Build a ResNet-50 with random weights, always the same: for time alone."""
    torch.manual_seed(0)
    return specs.open_box("torchvision:resnet50?weights=none", backend=backend)


BOXES: dict[str, Callable[..., BlackBox]] = {
    "efficientnet-lite0": lambda backend="auto": specs.open_box("default", backend=backend),
    "vit-tiny": vit_tiny,
    "mobilenet-v2": mobilenet_v2,
    "vgg16": vgg16,
    "efficientnet-lite2": efficientnet_lite2,
    "vgg16-steel": vgg16_steel,
    "resnet50": resnet50,
}


@dataclass(frozen=True)
class Case:
    """A photograph with what is in it and where."""

    file: Path
    classes: tuple[int, ...]  # right answers, ImageNet indices
    boxes: tuple[tuple[int, int, int, int], ...]  # xmin, ymin, xmax, ymax in pixels of the file
    mask: Path | None = None  # where the object is to the pixel

    def prepared(self, box: BlackBox, *, fine: bool = False) -> tuple[Image, Region]:
        """Return the image for a box and the truth at the same size: boxes, or with `fine` the mask where there is one."""
        picture = read(self.file)
        image, geometry = box.preparation(picture)  # type: ignore[attr-defined]  # all boxes here have one
        truth = torch.zeros(picture.size)
        for left, top, right, bottom in self.boxes:
            truth[top:bottom, left:right] = 1
        if fine and self.mask is not None:
            truth = torch.from_numpy(np.array(read(self.mask).pixels.convert("L"))).float() / 255
        return image, geometry.project(truth) > 0.5


def read_cases(*sources: str) -> list[Case]:
    """Read pictures with boxes: "imagenette" (200 of ImageNet's validation set), "coco" (77), "neu_det" (240, steel)."""
    found: dict[Path, Case] = {}
    for source in sources or ("imagenette", "coco"):
        for row in read_table(f"localisation/{source}_boxes.csv"):
            file = expect_folder() / "localisation" / source / Path(row["file"]).name
            answers = row["imagenet_indices"] if source == "coco" else row["class_index"]
            if source == "neu_det" and row["box_class_name"] != row["class_name"]:
                continue
            corners = tuple(int(float(row[key])) for key in ("xmin", "ymin", "xmax", "ymax"))
            known = found.get(file)
            boxes = (*(known.boxes if known else ()), corners)
            mask = expect_folder() / "localisation" / row["mask_file"] if row.get("mask_file") else None
            found[file] = Case(file, tuple(int(each) for each in answers.split(";")), boxes, mask)
    return list(found.values())


def sample_cases(cases: list[Case], count: int, seed: int = 0) -> list[Case]:
    """Draw some by seed."""
    return random.Random(seed).sample(cases, min(count, len(cases)))


def iterate_recognised(cases: list[Case], box: BlackBox, *, fine: bool = False) -> Iterator[tuple[Case, Image, Region, int]]:
    """Keep the cases that the box gets right, with their image, truth and class."""
    for case in cases:
        image, truth = case.prepared(box, fine=fine)
        top = int(box(image[None].to(box.device))[0].argmax())
        if translate_class(box, top) in case.classes and bool(truth.any()):
            yield case, image, truth, top


def translate_class(box: BlackBox, index: int) -> int:
    """Return what a box's class is called in the tables: Imagenette's ten are ImageNet's."""
    if box.name != "vgg16-imagenette":
        return index
    return sorted({int(row["class_index"]) for row in read_table("localisation/imagenette_boxes.csv")})[index]


def list_photographs() -> list[Path]:
    """List the 200 ImageNet samples."""
    return sorted((expect_folder() / "images" / "imagenet").glob("*.jpg"))


def read_table(file: str) -> list[dict[str, str]]:
    """Read a table of the data folder."""
    with (expect_folder() / file).open(newline="") as opened:
        return list(csv.DictReader(opened))


def find_weights(name: str) -> str:
    """Return the path of a weights file."""
    return str(expect_folder() / "models" / f"{name}.safetensors")
