"""A box that nobody has met yet, and what it is shown first."""

from __future__ import annotations

from abc import abstractmethod
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as pil
from torch import Tensor

from salience.boxes._names import match_class_names
from salience.engine import seeding
from salience.runtime import heads
from salience.types import BlackBox, Head

SAMPLE = Path(__file__).parents[1] / "sample.jpg"


class Stranger(BlackBox):
    """A box that is to be met: meeting it changes what it says of itself."""

    module: Any  # the network or the function
    preparation: Any
    input_type: torch.dtype | None = None  # of the numbers that the network takes; None: of its first weights
    output: str | None = None  # the one that has the scores
    head: Head
    given: frozenset[str]  # the options that its user named: they are not looked for
    published: dict[str, str]  # the same of what the network's library says, and where
    _classes: tuple[str, ...] | None = None  # the names; None until somebody names or counts them

    @abstractmethod
    def put_out(self, images: Float[Tensor, "n c h w"]) -> Any:
        """Run the network on images in 0…1 and return all that it puts out; gradients are recorded where they can be."""

    @property
    def numbers(self) -> bool:  # type: ignore[override]  # it follows the head
        """Whether the scores are no probabilities."""
        return self.head in heads.NUMBERS

    @property
    def class_count(self) -> int | None:
        """How many names of classes there are; None where nobody gave names."""
        return None if self._classes is None else len(self._classes)

    def name_classes(self, count: int) -> str:
        """Compare the names of the classes with how many there are, and say where they come from."""
        if self.numbers:
            self._classes = heads.name_sides(self._classes, count)
            return ", ".join(self._classes[:4])
        self._classes, said = match_class_names(self._classes, count, self.name, self.published.get("classes"))
        return said


def count_shown(box: BlackBox) -> int:
    """Say how many channels images for a box have: a network of one channel sees the grey of three.

    >>> from salience.boxes import toy
    >>> count_shown(toy.load("colour"))
    3
    """
    return 3 if box.channels == 1 else box.channels


@cache
def make_pictures(size: tuple[int, int], channels: int) -> Float[Tensor, "3 c h w"]:
    """Make three pictures: a photograph, its negative upside down, and noise.

    >>> make_pictures((8, 8), 4).shape
    torch.Size([3, 4, 8, 8])
    """
    with pil.open(SAMPLE) as file:
        pixels = np.asarray(file.convert("RGB").resize((size[1], size[0]), pil.Resampling.BILINEAR))
    colours = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255)
    photograph = colours[[each % 3 for each in range(channels)]]
    noise = torch.rand(channels, *size, generator=seeding.generator(0, "pictures for a box that is met"))
    return torch.stack([photograph, 1 - photograph.flip(-2), noise])


def take_channels(box: Stranger, channels: int) -> None:
    """Let a box take images of so many channels: its normalisation has a value for each."""
    box.channels = channels
    if channels != 1 or len(box.preparation.mean) != 3:  # the grey of three colours is made in the box
        box.preparation = box.preparation.with_channels(channels)
    if len(box.mean) != count_shown(box):
        box.mean = box.mean[:1] * count_shown(box)
