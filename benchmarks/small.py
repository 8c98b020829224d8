"""Small networks written out, whose trained weights are in the data folder: CIFAR ResNets (He et al. 2016, section 4.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.data import needed, weights
from salience.boxes._module import read_weights
from salience.boxes.torch import TorchBox
from salience.picture import Preparation
from salience.types import BlackBox

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Block(nn.Module):
    """Two convolutions beside a shortcut without weights."""

    def __init__(self, given: int, gives: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, gives, 3, stride, 1, bias=False), nn.BatchNorm2d(gives)
        self.conv2, self.bn2 = nn.Conv2d(gives, gives, 3, 1, 1, bias=False), nn.BatchNorm2d(gives)
        self.stride, self.more = stride, gives - given

    def forward(self, x: Tensor) -> Tensor:
        """Where the shape changes the shortcut takes every second pixel and adds channels of zeros on both sides."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        short = x[:, :, :: self.stride, :: self.stride]
        return functional.relu(inner + functional.pad(short, (0, 0, 0, 0, self.more // 2, self.more // 2)))


class CifarResNet(nn.Module):
    """Three stages of `blocks` blocks with 16, 32 and 64 channels."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(*(Block(32 if k else 16, 32, 1 if k else 2) for k in range(blocks)))
        self.layer3 = nn.Sequential(*(Block(64 if k else 32, 64, 1 if k else 2) for k in range(blocks)))
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        out = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(images))))))
        return self.linear(out.mean((2, 3)))


def cifar(depth: int, lane: str = "auto") -> BlackBox:
    """Load CIFAR ResNet-20 or -56."""
    net = CifarResNet((depth - 2) // 6)
    read_weights(net, weights(f"cifar10_resnet{depth}"))
    ready = Preparation((32, 32), None, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return TorchBox(net, ready, CLASSES, name=f"cifar10-resnet{depth}", lane=lane)


def cifar_pictures(count: int) -> tuple[Tensor, list[int]]:
    """Return pictures (n 3 32 32) in 0…1 and their classes, evenly over the set."""
    with np.load(needed() / "small" / "cifar10.npz") as file:
        pixels, labels = file["images"], file["labels"]
    chosen = np.linspace(0, len(pixels) - 1, count).astype(int)
    return torch.from_numpy(pixels[chosen]).permute(0, 3, 1, 2).float() / 255, [int(k) for k in labels[chosen]]
