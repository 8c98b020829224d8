"""Layers and maps on networks of many families at their published size. `benchmarks/families.csv` has the whole list."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks import families
from salience.boxes.torch import TorchBox
from salience.picture import Preparation

ROWS = families.read_rows(families.ROWS)
BUILT = [key for key, row in ROWS.items() if row["layers"]]
SMALL = [
    ("torchvision", "mobilenet_v3_small"),
    ("torchvision", "shufflenet_v2_x0_5"),
    ("timm", "ghostnet_050"),
    ("timm", "lcnet_035"),
    ("timm", "vit_tiny_patch16_224"),
]
NARROW: dict[str, dict[str, Any]] = {  # of transformers, where the last layer was named after what pools beside it
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    "ConvNext": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "Swin": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    "MobileNetV2": {"depth_multiplier": 0.35},
    "RegNet": {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "groups_width": 8},
    "PvtV2": {"hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]},
    "ViT": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2},
}


def measure(box: TorchBox) -> dict[str, str]:
    """Look at the layers of a box, and make two maps."""
    row = dict.fromkeys(families.COLUMNS, "")
    families.train_a_little(box.module, box.size)
    families.measure_box(box, row)
    return row


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("kind", NARROW)
def test_a_narrow_network_of_transformers_has_proper_layers_and_maps(kind: str) -> None:
    """At 224 pixels, where the last stage has 7 by 7 places."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**NARROW[kind], num_labels=5)
    net = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    row = measure(TorchBox(net, Preparation((224, 224)), "abcde", name=kind, backend="exact"))
    assert (row["reason"], row["proper"], row["cam"], row["sise"]) == ("", "yes", "yes", "yes")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "network"), SMALL)
def test_a_small_network_has_proper_layers_and_maps(library: str, network: str) -> None:
    """With random weights, for the layers are a matter of how it is built."""
    torch.manual_seed(0)
    row = measure(families.build(library, network))
    assert (row["reason"], row["proper"], row["cam"], row["sise"]) == ("", "yes", "yes", "yes")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "network"), BUILT)
def test_every_family_is_as_its_row_says(library: str, network: str) -> None:
    """The layers that were found, and whether they and the maps are proper."""
    row = families.make_row(library, network)
    columns = ("layers", "top", "proper", "cam", "sise")
    assert [row[column] for column in columns] == [ROWS[library, network][column] for column in columns]
