"""Methods that look inside, on vision transformers."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import salience
from salience.boxes.torch import TorchBox, wrap
from tests.helpers import noise

IMAGE = noise(3, 32, 48, dtype=torch.float32)


def vit(**options: object) -> TorchBox:
    """Make a small vision transformer with a grid of 4 by 6."""
    torch.manual_seed(0)
    size = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 2, "num_classes": 5}
    net: nn.Module = timm.models.VisionTransformer(**size, **options)
    for each in net.parameters():
        if each.ndim > 1:
            nn.init.normal_(each, std=0.2)  # the library begins with a head of zeros
    return wrap(net, size=(32, 48), backend="exact")


KINDS = {
    "class token": {},
    "registers": {"reg_tokens": 3},
    "average pooling": {"global_pool": "avg", "class_token": False},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["grad-cam", "sise", "ada-sise"])
def test_tokens_are_feature_maps(kind: str, method: str) -> None:
    """In front of the attention of the last block, or of four; the record says so."""
    why = salience.explain(vit(**KINDS[kind]), IMAGE, method, target=2)
    assert why.saliency.shape == (32, 48)
    assert "goes into the attention of blocks blocks.0, blocks.1, blocks.2, blocks.3" in why.notes[0]


def test_behind_the_last_block_patch_tokens_have_no_gradient_and_that_is_said() -> None:
    """The answer of a class-token network rests on one token alone."""
    why = salience.explain(vit(), IMAGE, "grad-cam", layer="norm")
    assert why.notes[0] == "the layer gets no gradient from the target, so the map is blank: choose an earlier layer"
    assert float(why.saliency.abs().max()) == 0
    assert salience.explain(vit(**KINDS["average pooling"]), IMAGE, "grad-cam", layer="norm").notes == ()
