"""What a box's weights want done to a photograph, taken from their own metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as pil
from torch import Tensor
from torch.nn import functional

from salience import limits
from salience.errors import PictureError, SettingError
from salience.picture.depth import Scale, ScaledValues
from salience.picture.geometry import Geometry
from salience.picture.picture import Picture
from salience.types import Image

Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@dataclass(frozen=True)
class Preparation:
    """What is done to a photograph before the box sees it.

    `resize` is the length of the shorter side (the rest keeps its proportions), a (height, width) to squeeze into, or "fit"
    for the whole picture in its proportions; then the centre of `size` is cropped, padded with black where the picture is
    smaller. `mean` and `std` are the normalisation, applied inside the box: a value for each channel, or one for all.

    >>> from salience.picture.reading import read
    >>> image, geometry = Preparation((32, 32), resize=40)(read(np.zeros((80, 120, 3), np.uint8)))
    >>> image.shape, geometry.seen
    (torch.Size([3, 32, 32]), (8.0, 72.0, 28.0, 92.0))
    >>> str(Preparation((32, 32), resize=40))
    'short side to 40 (bilinear), centre crop 32×32, mean 0, std 1 (given)'
    """

    size: tuple[int, int]
    resize: int | tuple[int, int] | Literal["fit"] | None = None  # None: squeeze to `size`
    filter: Filter = "bilinear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    source: str = "given"  # who says so: the weights, a library's guess, the user

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise SettingError(f"expected size as (height, width) in pixels, got {self.size}: give two lengths above zero")
        if isinstance(self.resize, str) and self.resize != "fit":
            raise SettingError(f'expected resize as a length, as two, or as "fit", got {self.resize!r}')
        resized = self.resize if isinstance(self.resize, tuple) else () if self.resize in (None, "fit") else (self.resize,)
        for side in (*self.size, *resized):
            limits.expect_number("size and resize", side, 1, limits.SIDE)
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise SettingError(
                f"expected a value of mean and of std for each channel, std above zero, got {self.mean}, {self.std}"
            )
        if self.filter not in get_args(Filter):
            raise SettingError(f"expected filter, one of {', '.join(get_args(Filter))}, got {self.filter!r}")

    def with_size(self, size: tuple[int, int]) -> Preparation:
        """Give the same preparation for another size: the resize that belongs to it grows or shrinks along, rounded down.

        >>> str(Preparation((224, 224), resize=256).with_size((384, 384)))
        'short side to 438 (bilinear), centre crop 384×384, mean 0, std 1 (given)'
        """
        pairs = list(zip(size, self.size, strict=True))
        resize = self.resize
        if isinstance(resize, int):  # of a size of another shape, the longer side decides: a crop reaches over no edge
            resize = max(resize * new // old for new, old in pairs)
        elif isinstance(resize, tuple):
            height, width = (length * new // old for length, (new, old) in zip(resize, pairs, strict=True))
            resize = height, width
        return replace(self, size=size, resize=resize)

    def with_channels(self, count: int) -> Preparation:
        """Give the same preparation for images of so many channels: one mean and one std are spread to all of them.

        >>> Preparation((224, 224), mean=(0.5,), std=(0.5,)).with_channels(4).mean
        (0.5, 0.5, 0.5, 0.5)
        """
        if len(self.mean) == count:
            return self
        if len(set(self.mean)) > 1 or len(set(self.std)) > 1:
            raise SettingError(
                f"expected a mean and a std for each of {count} channels, got {len(self.mean)}: give mean= and std= with "
                f"{count} values"
            )
        return replace(self, mean=self.mean[:1] * count, std=self.std[:1] * count)

    def __call__(self, picture: Picture, channels: int | None = None) -> tuple[Image, Geometry]:
        """Return the image as the box will see it, in 0…1, and the way back.

        It has as many channels as there are means, or as are asked for; one is given as three that are equal or coloured,
        for a box that takes grey makes it itself.
        """
        count = channels or len(self.mean)
        height, width = picture.size
        if isinstance(self.resize, int):
            long = self.resize * max(height, width) // min(height, width)  # cut off, as torchvision does
            across = (self.resize, long) if height <= width else (long, self.resize)
        elif self.resize == "fit":
            scale = min(self.size[0] / height, self.size[1] / width)
            across = max(1, round(height * scale)), max(1, round(width * scale))
        else:
            across = self.resize or self.size
        image = self._resample(picture, across, 3 if count == 1 else count)
        top, left = (_find_crop_start(full - wanted) for full, wanted in zip(across, self.size, strict=True))
        if top or left or across != self.size:
            bottom_room, right_room = across[0] - self.size[0] - top, across[1] - self.size[1] - left
            image = functional.pad(image, (-left, -right_room, -top, -bottom_room))
        y, x = height / across[0], width / across[1]
        seen = (top * y, (top + self.size[0]) * y, left * x, (left + self.size[1]) * x)
        return image.contiguous(), Geometry((height, width), self.size, seen)

    @cached_property
    def scaling(self) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]]:
        """What images are multiplied by, and what is added then, to normalise them; in double precision."""
        mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (self.mean, self.std))
        return 1 / std, -mean / std

    def _resample(self, picture: Picture, size: tuple[int, int], channels: int) -> Image:
        deep = _find_values(picture, channels)
        if deep is not None:
            mode = self.filter if self.filter in ("bilinear", "bicubic") else "bilinear"
            return _resize(deep, size, mode).expand(channels, -1, -1)
        small = picture.pixels
        if picture.size != size:
            small = small.resize((size[1], size[0]), getattr(pil.Resampling, self.filter.upper()))
        return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float().div(255)

    def __str__(self) -> str:
        """Say it in a line."""
        if self.resize == "fit":
            scale = f"mean {_short(self.mean)}, std {_short(self.std)}"
            return f"whole within {self.size[0]}×{self.size[1]} ({self.filter}) with a black border, {scale} ({self.source})"
        how = f"short side to {self.resize}" if isinstance(self.resize, int) else f"squeezed to {self.resize or self.size}"
        crop = "" if self.resize in (None, self.size) else f", centre crop {self.size[0]}×{self.size[1]}"
        crop += " with a black border" if self._reaches_over else ""
        scale = f"mean {_short(self.mean)}, std {_short(self.std)}"
        return f"{how} ({self.filter}){crop}, {scale} ({self.source})"

    @property
    def _reaches_over(self) -> bool:
        """Whether the crop is larger than any photograph will be."""
        lengths = self.resize if isinstance(self.resize, tuple) else self.size
        if isinstance(self.resize, int):
            lengths = (self.resize, self.resize)
        return any(length < wanted for length, wanted in zip(lengths, self.size, strict=True))


def _find_values(picture: Picture, channels: int) -> ScaledValues | None:
    """Return a picture's values with so many channels; None where its RGB pixels are all that there is to them."""
    if picture.deep is None and channels == 3:
        return None
    if picture.deep is not None and picture.deep.bands in (1, channels):
        return picture.deep
    if picture.whole is not None and channels == 4:
        return ScaledValues(picture.whole, Scale(0.0, 255.0))
    count = 3 if picture.deep is None else picture.deep.bands
    raise PictureError(
        f"expected {channels} channels in {picture.name}, got {count}: give a picture that has them, or choose them with "
        "bands="
    )


def _resize(deep: ScaledValues, size: tuple[int, int], mode: str) -> Float[Tensor, "c h w"]:
    """Resize as torch does, the rows of a large picture strip by strip: the filter is one along rows, then along columns."""

    def resize(part: Float[Tensor, "c y x"], to: tuple[int, int]) -> Float[Tensor, "c h w"]:
        return functional.interpolate(part[None], size=to, mode=mode, antialias=True, align_corners=False)[0]

    if deep.size == size:
        return deep.take()
    if len(deep.strips) == 1:
        return resize(deep.take(), size).clamp(0, 1)
    narrow = [resize(deep.take(first, last), (last - first, size[1])) for first, last in deep.strips]
    return resize(torch.cat(narrow, dim=1), size).clamp(0, 1)


def _find_crop_start(room: int) -> int:
    """Return where a centre crop begins, rounded as torchvision rounds; below zero where it pads."""
    return round(room / 2) if room >= 0 else -(-room // 2)


def _short(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{value:g}" for value in values)
