"""What a box's weights want done to a photograph, taken from their own metadata."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as pil
from torch import Tensor
from torch.nn import functional

from salience.errors import SettingError
from salience.picture.geometry import Geometry
from salience.picture.reading import Picture
from salience.types import Image

Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@dataclass(frozen=True)
class Preparation:
    """What is done to a photograph before the box sees it.

    `resize` is the length of the shorter side (the rest keeps its proportions), or a (height, width) to squeeze into;
    then the centre of `size` is cropped, padded with black where the picture is smaller. `mean` and `std` are the
    normalisation, applied inside the box.

    >>> from salience.picture.reading import read
    >>> image, geometry = Preparation((32, 32), resize=40)(read(np.zeros((80, 120, 3), np.uint8)))
    >>> image.shape, geometry.seen
    (torch.Size([3, 32, 32]), (8.0, 72.0, 28.0, 92.0))
    >>> str(Preparation((32, 32), resize=40))
    'short side to 40 (bilinear), centre crop 32×32, mean 0, std 1 (given)'
    """

    size: tuple[int, int]
    resize: int | tuple[int, int] | None = None  # None: squeeze to `size`
    filter: Filter = "bilinear"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    source: str = "given"  # who says so: the weights, a library's guess, the user

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise SettingError(f"expected size as (height, width) in pixels, got {self.size}: give two lengths above zero")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise SettingError(f"expected three values for mean and for std, std above zero, got {self.mean}, {self.std}")

    def __call__(self, picture: Picture) -> tuple[Image, Geometry]:
        """Return the image as the box will see it, in 0…1, and the way back."""
        height, width = picture.size
        if isinstance(self.resize, int):
            long = self.resize * max(height, width) // min(height, width)  # cut off, as torchvision does
            across = (self.resize, long) if height <= width else (long, self.resize)
        else:
            across = self.resize or self.size
        image = self._resample(picture, across)
        top, left = (_find_crop_start(full - wanted) for full, wanted in zip(across, self.size, strict=True))
        if top or left or across != self.size:
            bottom_room, right_room = across[0] - self.size[0] - top, across[1] - self.size[1] - left
            image = functional.pad(image, (-left, -right_room, -top, -bottom_room))
        y, x = height / across[0], width / across[1]
        seen = (top * y, (top + self.size[0]) * y, left * x, (left + self.size[1]) * x)
        return image.contiguous(), Geometry((height, width), self.size, seen)

    @cached_property
    def scaling(self) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
        """What images are multiplied by, and what is added then, to normalise them; in double precision."""
        mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (self.mean, self.std))
        return 1 / std, -mean / std

    def _resample(self, picture: Picture, size: tuple[int, int]) -> Image:
        if picture.exact is not None:
            if tuple(picture.exact.shape[-2:]) == size:
                return picture.exact
            mode = self.filter if self.filter in ("bilinear", "bicubic") else "bilinear"
            batch = picture.exact[None]
            return functional.interpolate(batch, size=size, mode=mode, antialias=True, align_corners=False)[0].clamp(0, 1)
        small = picture.pixels
        if picture.size != size:
            small = small.resize((size[1], size[0]), getattr(pil.Resampling, self.filter.upper()))
        return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float().div(255)

    def __str__(self) -> str:
        """Say it in a line."""
        how = f"short side to {self.resize}" if isinstance(self.resize, int) else f"squeezed to {self.resize or self.size}"
        crop = "" if self.resize in (None, self.size) else f", centre crop {self.size[0]}×{self.size[1]}"
        scale = f"mean {_short(self.mean)}, std {_short(self.std)}"
        return f"{how} ({self.filter}){crop}, {scale} ({self.source})"


def _find_crop_start(room: int) -> int:
    """Return where a centre crop begins, rounded as torchvision rounds; below zero where it pads."""
    return round(room / 2) if room >= 0 else -(-room // 2)


def _short(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{value:g}" for value in values)
