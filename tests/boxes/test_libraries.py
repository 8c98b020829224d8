"""Boxes of timm, torchvision and transformers, made without a download."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import salience
from salience import specs
from salience.errors import BoxError, UnknownName
from tests.helpers import apart, noise


def test_timm_makes_a_network_with_its_own_preparation_and_names() -> None:
    """Size, crop, filter, mean and std of timm's configuration; ImageNet's words."""
    box = specs.open_box("timm:resnet18?weights=none")
    assert (box.size, box.preparation.resize, box.preparation.filter) == ((224, 224), 235, "bicubic")
    assert box.preparation.mean == pytest.approx((0.485, 0.456, 0.406))
    assert len(box.classes) == 1000
    assert "tench" in box.classes[0]
    assert box.name == "timm:resnet18"


def test_options_of_a_spec_go_to_the_preparation_or_to_timm() -> None:
    """Digits in a spec are numbers; what is not the box's is the model's."""
    box = specs.open_box("timm:test_resnet?weights=none&num_classes=7&size=96&backend=exact")
    assert box.classes == tuple(f"class {k}" for k in range(7))
    assert (box.size, box.backend) == ((96, 96), "exact")
    assert "changed" in box.preparation.source


def test_weights_in_half_precision_load_in_full(tmp_path: Path) -> None:
    """Files are stored small; the network computes in float32."""
    made = specs.open_box("timm:test_resnet?weights=none&backend=exact")
    half = {key: each.half() if each.is_floating_point() else each for key, each in made.module.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    box = specs.open_box("timm:test_resnet", weights=str(tmp_path / "half.safetensors"), backend="exact")
    images = noise(2, 3, *box.size, dtype=torch.float32)
    assert {each.dtype for each in box.module.parameters()} == {torch.float32}
    assert apart(box(images), made(images)) < 1e-3
    torch.save({"state_dict": made.module.state_dict()}, tmp_path / "whole.pth")
    same = specs.open_box(f"timm:test_resnet?weights={tmp_path / 'whole.pth'}&backend=exact")
    assert torch.equal(same(images), made(images))
    assert same.fingerprint == made.fingerprint


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A missing file, other tensors, no weights at all."""
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.pth").write_text("hello")
    for name, text in (
        ("none.pth", "expected weights at .*none.pth, got nothing there"),
        ("other.safetensors", "expected weights for .* in .*other.safetensors, got something else"),
        ("text.pth", "expected weights for .* in .*text.pth, got something else"),
    ):
        with pytest.raises(BoxError, match=text):
            specs.open_box("timm:test_resnet", weights=str(tmp_path / name))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("timm:resnet_18", "expected the name of a timm model, got 'resnet_18': did you mean resnet18"),
        ("torchvision:resnt50", "expected the name of a torchvision model, got 'resnt50': did you mean resnet50"),
        ("toy:color", "expected the name of a toy box, got 'color': did you mean colour"),
        ("zoo:efficientnet", "expected the name of a box in the zoo, got 'efficientnet': did you mean efficientnet-lite0"),
    ],
)
def test_a_wrong_name_offers_close_ones(spec: str, text: str) -> None:
    """Model names are hard to remember."""
    with pytest.raises(UnknownName, match=text):
        specs.open_box(spec)


def test_torchvision_makes_a_network_with_its_weights_own_transforms() -> None:
    """Random weights, but the preparation and the names that go with the published ones."""
    box = specs.open_box("torchvision:resnet18?weights=none")
    assert (box.size, box.preparation.resize) == ((224, 224), 256)
    assert box.classes[0] == "tench"
    assert "ResNet18_Weights" in box.preparation.source


def test_modules_of_these_libraries_know_their_preparation() -> None:
    """Given as objects they need no size."""
    import timm
    from torchvision import models

    net = models.resnet18()
    box = specs.open_box(net, weights=models.ResNet18_Weights.DEFAULT)
    assert (box.preparation.resize, box.classes[0]) == (256, "tench")
    assert specs.open_box(timm.create_model("resnet18")).preparation.resize == 235


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_folder_of_transformers_is_a_box(kind: str, tmp_path: Path) -> None:
    """Saved with `save_pretrained`, loaded without a network: labels, processor, scores and layers."""
    import transformers

    labels = {0: "cat", 1: "dog", 2: "owl"}
    if kind == "vit":
        size = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
        net = transformers.ViTForImageClassification(
            transformers.ViTConfig(**size, image_size=32, patch_size=8, id2label=labels)
        )
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    else:
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        net = transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes, id2label=labels))
        processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875)
    net.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    box = specs.open_box(f"hf:{tmp_path}", backend="exact")
    images = noise(2, 3, 32, 32, dtype=torch.float32)
    mean, std = (torch.tensor(each)[:, None, None] for each in (box.preparation.mean, box.preparation.std))
    with torch.no_grad():
        known = net.eval()((images - mean) / std).logits.softmax(1)
    assert box.classes == ("cat", "dog", "owl")
    assert (box.size, box.preparation.resize) == ((32, 32), (32, 32) if kind == "vit" else 36)
    assert apart(box(images), known) < 1e-5
    grids = [tuple(each.shape[-2:]) for each in box.activations(images, box.layers()).values()]
    assert grids == ([(4, 4)] * 4 if kind == "vit" else sorted(set(grids), reverse=True))
    assert torch.isfinite(salience.explain(box, images[0], "rise", masks=20).saliency).all()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """In one sentence, whatever the library says in many."""
    with pytest.raises(BoxError, match="expected to load hf:.*check the name or give a folder") as raised:
        specs.open_box(f"hf:{tmp_path}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vit_tiny_patch16_224",
        pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),
        pytest.param("deit_tiny_distilled_patch16_224", marks=pytest.mark.slow),
    ],
)
def test_layers_of_networks_and_transformers_are_found(name: str) -> None:
    """Maps of the token grid without its prefix, channels first, from fine to coarse."""
    box = specs.open_box(f"timm:{name}?weights=none&backend=exact")
    found = box.activations(noise(1, 3, 224, 224, dtype=torch.float32), box.layers())
    sides = [each.shape[-1] for each in found.values()]
    assert sides == ([14] * 4 if "vit" in name or "deit" in name else sorted(sides, reverse=True))
    assert all(each.shape[-1] == each.shape[-2] for each in found.values())
    assert len(found) == len(box.layers()) >= 4
