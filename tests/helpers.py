"""What many tests need: comparing values, and boxes whose insides a test can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from salience.boxes.torch import TorchBox
from salience.picture import Preparation
from salience.types import BlackBox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def same(one: Tensor, other: Tensor, within: float = 1e-12) -> bool:
    """Say whether two tensors have one shape and equal values."""
    return one.shape == other.shape and bool((one.double() - other.double()).abs().max() <= within)


def apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference."""
    return float((one.detach().double() - other.detach().double()).abs().max())


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw numbers in 0…1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def curved(side: int = 8, classes: int = 3, dtype: torch.dtype = torch.float64) -> TorchBox:
    """Make a box that is not linear in the pixels: a dense layer and a softmax, in double precision."""
    dense = nn.Linear(3 * side * side, classes)
    with torch.no_grad():
        dense.weight.copy_((noise(*dense.weight.shape, seed=5) - 0.5) * 0.8)
        dense.bias.zero_()
    module = nn.Sequential(nn.Flatten(), dense).to(dtype)
    return TorchBox(module, Preparation((side, side)), [str(k) for k in range(classes)], name="curved", backend="exact")


class Asked(BlackBox):
    """A black box that is no torch module: answers with a function, and remembers how it was asked."""

    fingerprint = "asked"

    def __init__(self, answer: Callable[[Tensor], Tensor], side: int = 8, classes: Sequence[str] = ("no", "yes")) -> None:
        self.answer, self.size, self.classes, self.name = answer, (side, side), tuple(classes), "asked"
        self.batches: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        """Answer and note the size of the batch."""
        self.batches.append(len(images))
        return self.answer(images)


def brightness(images: Tensor) -> Tensor:
    """Score two classes by the mean of the pixels."""
    bright = images.flatten(1).mean(1)
    return torch.stack([1 - bright, bright], dim=1)
