"""Which layers are found, in networks of every build. Shapes alone matter, so the networks have no memory ("meta")."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from salience.engine.inside.hooks import as_feature_maps, record_activations
from salience.engine.inside.layers import find_layers
from salience.errors import BoxError
from salience.types import LayerInfo

# What the specification of SISE derives by hand for torchvision at 224 pixels, and the same rule for other builds.
# "channels@side" in the order of the layers.
TABLE = {
    "torchvision:vgg16": (
        "features.3 features.8 features.15 features.22 features.29",
        "64@224 128@112 256@56 512@28 512@14",
    ),
    "torchvision:resnet50": ("relu layer1 layer2 layer3 layer4", "64@112 256@56 512@28 1024@14 2048@7"),
    "torchvision:mobilenet_v2": (
        "features.1 features.3 features.6 features.13 features",
        "16@112 24@56 32@28 96@14 1280@7",
    ),
    "torchvision:mobilenet_v3_large": (
        "features.1 features.3 features.6 features.12 features",
        "16@112 24@56 40@28 112@14 960@7",
    ),
    "torchvision:efficientnet_b0": (
        "features.1 features.2 features.3 features.5 features",
        "16@112 24@56 40@28 112@14 1280@7",
    ),
    "torchvision:densenet121": (
        "features.relu0 features.transition1.conv features.transition2.conv features.transition3.conv features",
        "64@112 128@56 256@28 512@14 1024@7",
    ),
    "torchvision:convnext_tiny": ("features.1 features.3 features.5 features", "96@56 192@28 384@14 768@7"),
    "torchvision:googlenet": ("conv1 conv3 inception3b inception4e inception5b", "64@112 192@56 480@28 832@14 1024@7"),
    "torchvision:swin_t": ("features.1 features.3 features.5 permute", "96@56 192@28 384@14 768@7"),
    "torchvision:regnet_y_400mf": (
        "stem trunk_output.block1 trunk_output.block2 trunk_output.block3 trunk_output",
        "32@112 48@56 104@28 208@14 440@7",
    ),
    "torchvision:vit_b_16": (
        " ".join(f"encoder.layers.encoder_layer_{k}.ln_1" for k in (2, 5, 8, 11)),
        "768@14 768@14 768@14 768@14",
    ),
    "timm:tf_efficientnet_lite0": ("blocks.0 blocks.1 blocks.2 blocks.4 bn2", "16@112 24@56 40@28 112@14 1280@7"),
    "timm:tf_efficientnet_lite2": ("blocks.0 blocks.1 blocks.2 blocks.4 bn2", "16@112 24@56 48@28 120@14 1280@7"),
    "timm:mobilenetv2_100": ("blocks.0 blocks.1 blocks.2 blocks.4 bn2", "16@112 24@56 32@28 96@14 1280@7"),
    "timm:resnet50": ("act1 layer1 layer2 layer3 layer4", "64@112 256@56 512@28 1024@14 2048@7"),
    "timm:regnety_004": ("stem s1 s2 s3 s4", "32@112 48@56 104@28 208@14 440@7"),
    "timm:convnext_tiny": ("stages.0 stages.1 stages.2 stages", "96@56 192@28 384@14 768@7"),
    "timm:swin_tiny_patch4_window7_224": ("layers.0 layers.1 layers.2 norm", "96@56 192@28 384@14 768@7"),
    "timm:vit_tiny_patch16_224": (" ".join(f"blocks.{k}.norm1" for k in (2, 5, 8, 11)), "192@14 192@14 192@14 192@14"),
    "timm:deit_tiny_distilled_patch16_224": (
        " ".join(f"blocks.{k}.norm1" for k in (2, 5, 8, 11)),
        "192@14 192@14 192@14 192@14",
    ),
    "timm:vit_small_patch16_dinov3": (" ".join(f"blocks.{k}.norm1" for k in (2, 5, 8, 11)), "384@14 384@14 384@14 384@14"),
}  # fmt: skip  # a table


# One of each architecture is tried at every change.
QUICK = {
    "torchvision:resnet50",
    "torchvision:swin_t",
    "timm:tf_efficientnet_lite0",
}


def built(name: str) -> nn.Module:
    """Make a network of a library without weights or memory."""
    kind, _, model = name.partition(":")
    with torch.device("cpu" if "regnet_" in name else "meta"):  # torchvision's RegNet computes its widths with tensors
        if kind == "timm":
            import timm

            net: nn.Module = timm.create_model(model)
        else:
            from torchvision import models

            more = {"init_weights": False} if model == "googlenet" else {}
            net = models.get_model(model, weights=None, **more)
    return net.to("meta").eval()


def found(net: nn.Module, size: tuple[int, int] = (224, 224), device: str = "meta") -> tuple[LayerInfo, list[str]]:
    """Find the layers, and say channels and side of each."""
    images = torch.zeros(1, 3, *size, device=device)
    with torch.no_grad():
        anatomy = find_layers(net, lambda: net(images), size)
        with record_activations(net, anatomy.blocks) as seen:
            net(images)
    shapes = [as_feature_maps(seen[layer], size) for layer in anatomy.blocks]
    return anatomy, [f"{each.shape[1]}@{min(each.shape[2:])}" for each in shapes if each is not None]


@pytest.mark.parametrize("name", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in TABLE])
def test_the_ends_of_the_blocks_are_found(name: str) -> None:
    """As by hand from the architecture."""
    anatomy, shapes = found(built(name))
    assert (" ".join(anatomy.blocks), " ".join(shapes)) == TABLE[name]
    assert bool(anatomy.note) == ("vit" in name or "deit" in name)


def test_a_resnet_50_has_3904_maps() -> None:
    """The number that the paper reports, so its first layer is the stem's."""
    assert sum(int(each.partition("@")[0]) for each in found(built("torchvision:resnet50"))[1]) == 3904


def test_the_grid_of_a_transformer_need_not_be_square() -> None:
    """14 by 7 patches behind a class token."""
    import timm

    with torch.device("meta"):
        net = timm.create_model("vit_tiny_patch16_224", img_size=(224, 112)).eval()
    anatomy, shapes = found(net, (224, 112))
    assert shapes == ["192@7"] * 4
    assert "blocks.2, blocks.5, blocks.8, blocks.11" in anatomy.note


class Functional(nn.Module):
    """A network that pools and rectifies by functions, as most tutorials write them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 4), (4, 5), (5, 6)))
        self.fc = nn.Linear(6, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Three convolutions, two poolings between them, a mean behind."""
        one = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        two = functional.max_pool2d(functional.relu(self.conv2(one)), 2)
        return self.fc(self.conv3(two).mean((2, 3)))


def test_reductions_by_functions_are_seen_between_modules() -> None:
    """The last module before each, and the last of all."""
    assert found(Functional(), (32, 32), "cpu") == (LayerInfo(("conv1", "conv2", "conv3"), "conv3"), ["4@32", "5@16", "6@8"])


def test_layers_of_fewer_than_four_pixels_are_left_out_where_others_remain() -> None:
    """A map of 2 by 2 says little, but is better than none."""
    assert found(Functional(), (8, 8), "cpu")[1] == ["4@8", "5@4"]
    assert found(Functional(), (4, 4), "cpu")[1] == ["4@4", "5@2"]


def test_a_block_of_one_resolution_is_not_looked_into() -> None:
    """Squeeze-and-excitation pools inside a block, and is passed by."""

    class Squeezes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.mix = nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.mix(self.pool(x)).sigmoid()

    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), Squeezes(), nn.Conv2d(4, 6, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert found(net, (32, 32), "cpu")[0].blocks == ("1", "2")


def test_what_no_module_puts_out_is_named_by_what_it_goes_into() -> None:
    """A sum written in `forward`, in front of a pooling layer."""

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.pool, self.end = (
                nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 5, 1),
            )  # fmt: skip

        def forward(self, images: torch.Tensor) -> Any:
            one = self.one(images)
            return self.end(self.pool(one + self.two(one))).mean((2, 3))

    anatomy, shapes = found(Sums(), (16, 16), "cpu")
    assert anatomy.blocks == ("pool:in", "end")
    assert shapes == ["4@16", "5@8"]


def test_a_network_without_maps_is_said() -> None:
    """A method that reads layers needs some."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(BoxError, match="expected layers with feature maps in the box, got none"):
        find_layers(net, lambda: net(torch.zeros(1, 3, 2, 2)), (2, 2))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # old networks are still about
@pytest.mark.parametrize("how", ["exported", "scripted"])
def test_a_network_that_shows_no_modules_is_said(how: str) -> None:
    """It can be scored and differentiated, but not looked into."""
    net, images = Functional().eval(), torch.zeros(1, 3, 16, 16)
    closed = torch.export.export(net, (images,)).module() if how == "exported" else torch.jit.trace(net, images)
    with pytest.raises(BoxError, match="expected a network made of modules to look into, got one that was exported"):
        find_layers(closed, lambda: closed(images), (16, 16))
