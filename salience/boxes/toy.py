"""Boxes whose answer is known, for tests and for trying a method out. No download, no training."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes._options import split_options
from salience.boxes.torch import TorchBox
from salience.errors import UnknownName
from salience.picture import Preparation
from salience.types import Images

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
NAMES = ("colour", "corner", "constant")


class Linear(nn.Module):
    """Score 1 is Σ w · (mean of the channels), score 0 its complement: removing a pixel removes exactly its term."""

    def __init__(self, weights: Float[Tensor, "h w"]) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone(), requires_grad=False)

    def forward(self, images: Images) -> Tensor:
        """Return (n 2)."""
        score = (images.mean(1) * self.weights.to(images)).sum((1, 2))
        return torch.stack([1 - score, score], dim=1)


class Colour(nn.Module):
    """Three classes, red, green and blue, found by 1×1 filters set by hand; mean pooling makes the place irrelevant."""

    def __init__(self) -> None:
        super().__init__()
        self.detect = nn.Conv2d(3, 3, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        with torch.no_grad():
            self.detect.weight.copy_((1.5 * torch.eye(3) - 0.5)[:, :, None, None])  # grey gives nothing

    def forward(self, images: Images) -> Tensor:
        """Return logits (n 3); six per cent of pure red give it a probability of 0.86."""
        seen: Tensor = self.pool(self.act(self.detect(images)))
        return seen.flatten(1) * 40


def names() -> tuple[str, ...]:
    """List them."""
    return NAMES


def linear(weights: Float[Tensor, "h w"]) -> TorchBox:
    """Make a box that is linear in the pixels."""
    side = (int(weights.shape[0]), int(weights.shape[1]))
    box = TorchBox(Linear(weights), Preparation(side), ("rest", "sum"), head="none", name="toy:linear", backend="exact")
    box.mean = (0.0, 0.0, 0.0)  # what is hidden adds nothing
    return box


def load(name: str, *, size: Any = 32, backend: str = "exact") -> TorchBox:
    """`toy:colour` finds red, green or blue; `toy:corner` sees the top left quarter only; `toy:constant` nothing."""
    ready, _ = split_options(None, {"size": size})  # which refuses a side that is too long
    side = ready.size
    if name == "colour":
        return TorchBox(Colour(), ready, ("red", "green", "blue"), name="toy:colour", backend=backend)
    weights = torch.zeros(side)
    if name == "corner":
        weights[: side[0] // 2, : side[1] // 2] = 4 / (side[0] * side[1])
    elif name != "constant":
        raise UnknownName.of("toy box", name, NAMES)
    box = linear(weights)
    box.name = f"toy:{name}"
    return box


def picture(side: int = 32, colour: int = 0, top: int = 6, left: int = 14, patch: int = 8) -> Float[Tensor, "3 h w"]:
    """Draw a patch of one colour on a dull background: what `toy:colour` should find."""
    image = torch.full((3, side, side), 0.4)
    image[:, top : top + patch, left : left + patch] = torch.eye(3)[colour][:, None, None]
    return image
