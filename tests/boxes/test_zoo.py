"""The default box: a trained classifier that installs with the package."""

from __future__ import annotations

import csv
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from salience import specs
from salience.boxes.timm import read_class_names
from salience.boxes.torch import TorchBox
from salience.picture import read
from salience.types import BlackBox
from tests.helpers import apart, noise


@pytest.fixture(scope="module")
def box() -> BlackBox:
    """Load it once."""
    return specs.open_box("default", backend="exact")


def test_it_is_timms_network_with_the_published_weights(box: BlackBox, data: Path) -> None:
    """Names of tensors were translated by their order, so the logits are compared with another copy's."""
    import timm

    net = timm.create_model("tf_efficientnet_lite0")
    stored = load_file(data / "models" / "tf_efficientnet_lite0.fp16.safetensors")
    net.load_state_dict({key: each.float() if each.is_floating_point() else each for key, each in stored.items()})
    images = noise(2, 3, 224, 224, dtype=torch.float32)
    with torch.no_grad():
        known = net.eval()((images - 0.5) / 0.5)
        assert apart(box.logits(images), known) < 0.05 * float(known.std())


@pytest.mark.parametrize("size", [(224, 224), (199, 66)])
def test_it_answers_bit_for_bit_as_timms_network_does(box: BlackBox, size: tuple[int, int]) -> None:
    """It is written out here so that timm, which takes longer to import than torch, need not be imported."""
    import timm

    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(box.module.state_dict())
    images = noise(2, 3, *size, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(box.module.eval()(images), net.eval()(images))
    net.train()
    assert torch.equal(deepcopy(box.module).train()(images), net(images))


def test_its_layers_and_weights_are_called_as_in_timm(box: BlackBox) -> None:
    """Records name layers, and the fingerprint is of names and weights: those of older records stay true."""
    import timm

    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(box.module.state_dict())
    other = TorchBox(net, box.preparation, read_class_names(net), backend="exact")
    assert box.fingerprint == other.fingerprint == "4540c69ea0661d6f"
    assert (box.layer_info(), box.list_weighted(), box.classes) == (other.layer_info(), other.list_weighted(), other.classes)


def test_it_recognises_photographs(box: BlackBox, data: Path) -> None:
    """90 % of the 200 pictures are documented; of 60 of them chance leaves 85."""
    with (data / "images" / "index.csv").open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))[::3][:60]
    right = 0
    for row in rows:
        image, _ = box.preparation(read(data / "images" / row["file"]))
        right += int(box(image[None])[0].argmax()) == int(row["class_index"])
    assert right / len(rows) >= 0.85


def test_its_classes_have_imagenets_names(box: BlackBox) -> None:
    """In ImageNet's order."""
    assert len(box.classes) == 1000
    assert [box.classes[k].split(",")[0] for k in (0, 207, 999)] == ["tench", "golden retriever", "toilet tissue"]


def test_it_shows_a_layer_at_each_resolution(box: BlackBox) -> None:
    """From 112 pixels down to 7."""
    found = box.activations(noise(1, 3, 224, 224, dtype=torch.float32), box.layers())
    assert [each.shape[-1] for each in found.values()] == [112, 56, 28, 14, 7]
