"""Small networks written out, whose trained weights are in the data folder: CIFAR ResNets (He et al. 2016), LeNet-5."""

from __future__ import annotations

import gzip

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.data import expect_folder, find_weights
from salience.boxes.torch import TorchBox
from salience.picture import Preparation
from salience.runtime.module import read_weights
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


def cifar(depth: int, backend: str = "auto") -> BlackBox:
    """Load CIFAR ResNet-20 or -56."""
    net = CifarResNet((depth - 2) // 6)
    read_weights(net, find_weights(f"cifar10_resnet{depth}"))
    ready = Preparation((32, 32), None, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return TorchBox(net, ready, CLASSES, name=f"cifar10-resnet{depth}", backend=backend)


def read_cifar_pictures(count: int) -> tuple[Tensor, list[int]]:
    """Return pictures (n 3 32 32) in 0…1 and their classes, evenly over the set."""
    with np.load(expect_folder() / "small" / "cifar10.npz") as file:
        pixels, labels = file["images"], file["labels"]
    chosen = np.linspace(0, len(pixels) - 1, count).astype(int)
    return torch.from_numpy(pixels[chosen]).permute(0, 3, 1, 2).float() / 255, [int(k) for k in labels[chosen]]


class LeNet(nn.Module):
    """Two convolutions and two linear layers, for grey pictures of 28 × 28; a picture in colour counts by its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(3136, 200), nn.Linear(200, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        out = functional.max_pool2d(functional.relu(self.conv1(images.mean(1, keepdim=True))), 2)
        out = functional.max_pool2d(functional.relu(self.conv2(out)), 2)
        return self.linear2(functional.relu(self.linear1(out.flatten(1))))


def lenet(trained: str = "cln", backend: str = "auto") -> BlackBox:
    """Load LeNet-5 for MNIST, with ordinary ("cln") or adversarial ("adv") training."""
    net = LeNet()
    read_weights(net, find_weights(f"mnist_lenet5_{trained}"))
    ready = Preparation((28, 28), None, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return TorchBox(net, ready, [str(digit) for digit in range(10)], name=f"mnist-lenet5-{trained}", backend=backend)


def read_mnist_pictures(count: int) -> tuple[Tensor, list[int]]:
    """Return pictures (n 3 28 28) in 0…1 and their digits, evenly over the 8,000."""
    pixels, labels = (
        np.frombuffer(gzip.decompress((expect_folder() / "small" / f"mnist-{name}-ubyte.gz").read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    chosen = np.linspace(0, 7999, count).astype(int)
    grey = torch.from_numpy(pixels[16:].reshape(-1, 1, 28, 28)[chosen].copy()).float() / 255
    return grey.expand(-1, 3, -1, -1), [int(k) for k in labels[8:][chosen]]
