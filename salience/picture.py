"""Pictures in, images out, and the way back.

`read` accepts whatever people call a picture. A `Preparation` is what a box's weights want done to it; applied, it
gives an image and the `Geometry` that puts a map back onto the photograph.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import torch
from jaxtyping import Float
from PIL import Image as pil
from PIL import ImageOps
from torch import Tensor
from torch.nn import functional

from salience.errors import PictureError, SettingError
from salience.types import Image, Map

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"})
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@dataclass(frozen=True)
class Picture:
    """A photograph, upright and in RGB, with the bytes that it came from."""

    pixels: pil.Image
    name: str
    encoded: bytes = field(repr=False)
    exact: Float[Tensor, "3 h w"] | None = field(default=None, repr=False)  # floats that need no detour over 8 bits

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.height, self.pixels.width


@dataclass(frozen=True)
class Geometry:
    """Which rectangle of the photograph the box saw.

    `seen` is (top, bottom, left, right) in pixels of the photograph; it reaches outside where the image was padded.
    """

    photograph: tuple[int, int]  # height, width
    size: tuple[int, int]  # height, width of the box's input
    seen: tuple[float, float, float, float]

    def restore(self, saliency: Map) -> Float[Tensor, "y x"]:
        """Put a map onto the photograph; NaN where the box did not look."""
        top, bottom, left, right = self.seen
        height, width = self.photograph
        rows = (torch.arange(height) + 0.5 - top) / (bottom - top) * 2 - 1
        columns = (torch.arange(width) + 0.5 - left) / (right - left) * 2 - 1
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flip(-1)
        whole = functional.grid_sample(
            saliency.float()[None, None], grid[None].float(), padding_mode="border", align_corners=False
        )[0, 0]
        outside = (rows.abs() > 1)[:, None] | (columns.abs() > 1)[None, :]
        return whole.masked_fill(outside, float("nan"))

    def project(self, values: Float[Tensor, "y x"], *, nearest: bool = True) -> Map:
        """Bring an array at the photograph's size (a truth mask, say) to the box's input, 0 outside."""
        top, bottom, left, right = self.seen
        height, width = self.photograph
        at_rows = (top + (torch.arange(self.size[0]) + 0.5) * (bottom - top) / self.size[0]) / height * 2 - 1
        at_columns = (left + (torch.arange(self.size[1]) + 0.5) * (right - left) / self.size[1]) / width * 2 - 1
        grid = torch.stack(torch.meshgrid(at_rows, at_columns, indexing="ij"), dim=-1).flip(-1)
        mode = "nearest" if nearest else "bilinear"
        return functional.grid_sample(values.float()[None, None], grid[None].float(), mode=mode, align_corners=False)[0, 0]


@dataclass(frozen=True)
class Preparation:
    """What is done to a photograph before the box sees it.

    `resize` is the length of the shorter side (the rest keeps its proportions), or a (height, width) to squeeze into;
    then the centre of `size` is cropped, padded with black where the picture is smaller. `mean` and `std` are the
    normalisation, applied inside the box.
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
            scale = self.resize / min(height, width)
            across = (self.resize, int(width * scale)) if height <= width else (int(height * scale), self.resize)
        else:
            across = self.resize or self.size
        image = self._resample(picture, across)
        top, left = ((full - wanted) / 2 for full, wanted in zip(across, self.size, strict=True))
        top, left = int(round(top)), int(round(left))
        if top or left or across != self.size:
            bottom_room, right_room = across[0] - self.size[0] - top, across[1] - self.size[1] - left
            image = functional.pad(image, (-left, -right_room, -top, -bottom_room))
        y, x = height / across[0], width / across[1]
        seen = (top * y, (top + self.size[0]) * y, left * x, (left + self.size[1]) * x)
        return image.contiguous(), Geometry((height, width), self.size, seen)

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


def _short(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{value:g}" for value in values)


def read(source: Any, name: str | None = None) -> Picture:
    """Read a picture: a path, bytes, a PIL image, an HWC uint8 array, or a CHW float tensor in 0…1.

    EXIF orientation is applied; alpha is laid over white; palette, CMYK, grey and 16-bit pictures become RGB.
    Raises PictureError, in one sentence, for anything else.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, Path)):
        return _from_file(Path(source), name)
    if isinstance(source, (bytes, bytearray)):
        return _decoded(bytes(source), name or "bytes")
    if isinstance(source, pil.Image):
        return _encoded(_upright(source, name or "picture"), name or "picture")
    if isinstance(source, torch.Tensor) and source.is_floating_point():
        return _from_floats(source.detach().cpu(), name or "tensor")
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return _from_bytes(np.asarray(source), name or "array")
    raise PictureError(
        f"expected a picture (path, bytes, PIL image, HWC uint8 array or CHW float tensor), got {type(source).__name__}"
    )


def _from_file(path: Path, name: str | None) -> Picture:
    if not path.exists():
        raise PictureError(f"expected a picture at {path}, got nothing there: check the path")
    if path.is_dir():
        raise PictureError(f"expected a picture at {path}, got a folder: name its files, or use the command line")
    try:
        return _decoded(path.read_bytes(), name or str(path))
    except OSError as problem:
        raise PictureError(f"expected to read {path}, got {problem.strerror or problem}: check its permissions") from problem


def _decoded(encoded: bytes, name: str) -> Picture:
    if not encoded:
        raise PictureError(f"expected a picture in {name}, got an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            with pil.open(io.BytesIO(encoded)) as opened:
                opened.load()
                pixels = _upright(opened, name)
    except PIL.UnidentifiedImageError:
        raise PictureError(f"expected a picture in {name}, got {_kind(encoded)}: give a JPEG, PNG or the like") from None
    except (pil.DecompressionBombError, pil.DecompressionBombWarning):
        limit = f"{pil.MAX_IMAGE_PIXELS or 0:,}"
        raise PictureError(f"expected at most {limit} pixels in {name}, got more: scale it down first") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as problem:
        raise PictureError(f"expected a whole picture in {name}, got a damaged one ({problem}): get it anew") from problem
    return Picture(pixels, name, encoded)


def _upright(opened: pil.Image, name: str) -> pil.Image:
    if 0 in opened.size:
        raise PictureError(f"expected a picture of at least one pixel in {name}, got {opened.width}×{opened.height}")
    if getattr(opened, "n_frames", 1) > 1 and getattr(opened, "is_animated", False):
        raise PictureError(f"expected a still picture in {name}, got {opened.n_frames} frames: extract one of them")  # type: ignore[attr-defined]  # only multi-frame formats have it
    turned = ImageOps.exif_transpose(opened)
    if turned.mode.startswith("I") or turned.mode == "F":
        return _from_deep(turned, name)
    if turned.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in turned.info:
        above = turned.convert("RGBA")
        turned = pil.alpha_composite(pil.new("RGBA", above.size, "white"), above)
    return turned.convert("RGB")


def _from_deep(turned: pil.Image, name: str) -> pil.Image:
    """16-bit and 32-bit grey: the full range of 16 bits, or the values' own range when they exceed it, becomes 0…255."""
    values = np.asarray(turned).astype(np.float64)
    if not np.isfinite(values).all():
        raise PictureError(f"expected finite pixel values in {name}, got NaN or infinity")
    low = min(0.0, values.min())
    high = 1.0 if turned.mode == "F" and values.max() <= 1 else 65535.0 if values.max() <= 65535 else values.max()
    grey = np.clip((values - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    return pil.fromarray(grey, "L").convert("RGB")


def _encoded(pixels: pil.Image, name: str, exact: Tensor | None = None) -> Picture:
    file = io.BytesIO()
    pixels.save(file, "PNG", compress_level=1)
    return Picture(pixels, name, file.getvalue(), exact)


def _from_bytes(array: Any, name: str) -> Picture:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(
            f"expected an HWC uint8 array or a CHW float tensor in 0…1 as {name}, got {array.dtype} of shape {array.shape}"
        )
    if 0 in array.shape:
        raise PictureError(f"expected a picture of at least one pixel in {name}, got shape {array.shape}")
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return _encoded(_upright(pil.fromarray(np.ascontiguousarray(flat)), name), name)


def _from_floats(tensor: Tensor, name: str) -> Picture:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3) or 0 in tensor.shape:
        raise PictureError(f"expected a CHW float tensor with 1 or 3 channels as {name}, got shape {tuple(tensor.shape)}")
    if not bool(torch.isfinite(tensor).all()) or float(tensor.min()) < 0 or float(tensor.max()) > 1:
        raise PictureError(
            f"expected values from 0 to 1 in {name}, got {float(tensor.min()):.3g} to {float(tensor.max()):.3g}: "
            "give the picture before normalisation; the box applies its own"
        )
    exact = (tensor if tensor.is_floating_point() and tensor.dtype == torch.float64 else tensor.float()).expand(3, -1, -1)
    pixels = (exact.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return _encoded(pil.fromarray(np.ascontiguousarray(pixels)), name, exact.contiguous())


def _kind(encoded: bytes) -> str:
    start = encoded[:64].lstrip()
    if start.startswith((b"<svg", b"<?xml")):
        return "a drawing in SVG or XML"
    return "text" if encoded[:512].isascii() and b"\0" not in encoded[:512] else "something else"
