"""EfficientNet-Lite0, written plainly: timm has the same network, and importing timm takes longer than importing torch.

Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019; the Lite release of
TensorFlow leaves out squeeze-and-excitation and bounds its activations at 6. Modules and tensors are called as in timm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-3  # of the normalisations, as TensorFlow has it
STAGES = (  # blocks, side of the depthwise kernels, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """From normalised images (n 3 224 224), or of another size, to the logits of 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = SameConv2d(3, 32, 3, stride=2), NormActivation(32)
        widths = [32, *(channels for *_, channels in STAGES)]
        self.blocks = nn.Sequential(*(make_stage(width, *each) for width, each in zip(widths, STAGES, strict=False)))
        self.conv_head, self.bn2 = nn.Conv2d(widths[-1], 1280, 1, bias=False), NormActivation(1280)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        features = self.blocks(self.bn1(self.conv_stem(images)))
        features = self.bn2(self.conv_head(features))
        logits: Tensor = self.classifier(self.global_pool(features).flatten(1))
        return logits


class Separable(nn.Module):
    """A depthwise convolution, then one across channels: the first block."""

    def __init__(self, width: int, channels: int, side: int) -> None:
        super().__init__()
        self.conv_dw, self.bn1 = make_depthwise(width, side, 1), NormActivation(width)
        self.conv_pw, self.bn2 = nn.Conv2d(width, channels, 1, bias=False), NormActivation(channels, bounded=False)

    def forward(self, features: Tensor) -> Tensor:
        """Run."""
        features = self.bn1(self.conv_dw(features))
        mixed: Tensor = self.bn2(self.conv_pw(features))
        return mixed


class InvertedResidual(nn.Module):
    """Widen, convolve channel by channel, narrow; what came in is added where it fits (Sandler et al., CVPR 2018)."""

    def __init__(self, width: int, channels: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.conv_pw, self.bn1 = nn.Conv2d(width, inner, 1, bias=False), NormActivation(inner)
        self.conv_dw, self.bn2 = make_depthwise(inner, side, stride), NormActivation(inner)
        self.conv_pwl, self.bn3 = nn.Conv2d(inner, channels, 1, bias=False), NormActivation(channels, bounded=False)
        self.skips = stride == 1 and width == channels

    def forward(self, features: Tensor) -> Tensor:
        """Run."""
        expanded = self.bn2(self.conv_dw(self.bn1(self.conv_pw(features))))
        narrow: Tensor = self.bn3(self.conv_pwl(expanded))
        return narrow + features if self.skips else narrow


class NormActivation(nn.BatchNorm2d):
    """Normalise, and bound to 0…6 where that is asked for."""

    def __init__(self, channels: int, *, bounded: bool = True) -> None:
        super().__init__(channels, eps=EPSILON)
        self.act = nn.ReLU6(inplace=True) if bounded else nn.Identity()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Run."""
        bounded: Tensor = self.act(super().forward(input))
        return bounded


class SameConv2d(nn.Conv2d):
    """A strided convolution padded as TensorFlow does: an odd pixel goes to the bottom and the right."""

    def __init__(self, width: int, channels: int, side: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(width, channels, side, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Run."""
        padding: list[int] = []
        for length, side, step in zip(input.shape[:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            lacking = max((-(-length // step) - 1) * step + side - length, 0)
            padding += [lacking // 2, lacking - lacking // 2]
        return super().forward(functional.pad(input, padding))


def make_stage(width: int, count: int, side: int, stride: int, expansion: int, channels: int) -> nn.Sequential:
    """Make the blocks of one resolution; the first changes it."""
    if expansion == 1:
        return nn.Sequential(Separable(width, channels, side))
    first = InvertedResidual(width, channels, side, stride, expansion)
    return nn.Sequential(first, *(InvertedResidual(channels, channels, side, 1, expansion) for _ in range(count - 1)))


def make_depthwise(channels: int, side: int, stride: int) -> nn.Conv2d:
    """Make a convolution of each channel for itself."""
    if stride > 1:
        return SameConv2d(channels, channels, side, stride=stride, groups=channels)
    return nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels, bias=False)


def load_network(state: dict[str, Tensor]) -> EfficientNetLite0:
    """Make the network with weights that come in its own order, whatever their names."""
    with torch.device("meta"):  # no random weights are sampled only to be thrown away
        net = EfficientNetLite0()
    plain = [each.contiguous() for each in state.values()]  # one matrix is kept transposed, which changes the last bits
    net.load_state_dict(dict(zip(net.state_dict(), plain, strict=True)), strict=True, assign=True)
    return net
