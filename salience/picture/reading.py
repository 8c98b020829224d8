"""Read whatever people call a picture, upright and in RGB, or refuse it in one sentence."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from jaxtyping import Float
from PIL import Image as pil
from PIL import ImageOps
from torch import Tensor

from salience.errors import PictureError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"})


@dataclass(frozen=True)
class Picture:
    """A photograph, upright and in RGB, with the bytes that it came from.

    >>> read(np.zeros((4, 6, 3), np.uint8)).size
    (4, 6)
    """

    pixels: pil.Image
    name: str
    encoded: bytes = field(repr=False)
    exact: Float[Tensor, "3 h w"] | None = field(default=None, repr=False)  # floats that need no detour over 8 bits

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.height, self.pixels.width


def read(source: Any, name: str | None = None) -> Picture:
    """Read a picture: a path, bytes, a PIL image, an HWC uint8 array, or a CHW float tensor in 0…1.

    EXIF orientation is applied; alpha is laid over white; palette, CMYK, grey and 16-bit pictures become RGB.
    Raises PictureError, in one sentence, for anything else.

    >>> read(np.zeros((4, 6), np.uint8)).pixels.mode
    'RGB'
    >>> read("nowhere.jpg")
    Traceback (most recent call last):
        ...
    salience.errors.PictureError: expected a picture at nowhere.jpg, got nothing there: check the path
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, Path)):
        return _from_file(Path(source), name)
    if isinstance(source, (bytes, bytearray)):
        return _decode(bytes(source), name or "bytes")
    if isinstance(source, pil.Image):
        return _encode(_load(source, name or "picture"), name or "picture")
    if isinstance(source, torch.Tensor) and source.is_floating_point():
        return _from_floats(source.detach().cpu(), name or "tensor")
    if isinstance(source, (np.ndarray, torch.Tensor)):
        array = source.detach().cpu().numpy() if isinstance(source, torch.Tensor) else source
        return _from_bytes(array, name or "array")
    raise PictureError(
        f"expected a picture (path, bytes, PIL image, HWC uint8 array or CHW float tensor), got {type(source).__name__}"
    )


def _from_file(path: Path, name: str | None) -> Picture:
    if not path.exists():
        raise PictureError(f"expected a picture at {path}, got nothing there: check the path")
    if path.is_dir():
        raise PictureError(f"expected a picture at {path}, got a folder: name its files, or use the command line")
    try:
        return _decode(path.read_bytes(), name or str(path))
    except OSError as problem:
        raise PictureError(f"expected to read {path}, got {problem.strerror or problem}: check its permissions") from problem


def _decode(encoded: bytes, name: str) -> Picture:
    if not encoded:
        raise PictureError(f"expected a picture in {name}, got an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            with pil.open(io.BytesIO(encoded)) as image:
                pixels = _load(image, name)
    except PIL.UnidentifiedImageError:
        raise PictureError(f"expected a picture in {name}, got {_kind(encoded)}: give a JPEG, PNG or the like") from None
    except (pil.DecompressionBombError, pil.DecompressionBombWarning):
        limit = f"{pil.MAX_IMAGE_PIXELS or 0:,}"
        raise PictureError(f"expected at most {limit} pixels in {name}, got more: scale it down first") from None
    except (OSError, SyntaxError, ValueError) as problem:
        raise PictureError(f"expected a whole picture in {name}, got a damaged one ({problem}): get it anew") from problem
    return Picture(pixels, name, encoded)


def _load(image: pil.Image, name: str) -> pil.Image:
    try:
        image.load()
        return _upright(image, name)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as problem:
        raise PictureError(f"expected a whole picture in {name}, got a damaged one ({problem}): get it anew") from problem


def _upright(image: pil.Image, name: str) -> pil.Image:
    if 0 in image.size:
        raise PictureError(f"expected a picture of at least one pixel in {name}, got {image.width}×{image.height}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a telephone's MPO is a photograph with a smaller copy or a depth map
        raise PictureError(f"expected a still picture in {name}, got {frames} frames: extract one of them")
    turned = ImageOps.exif_transpose(image)
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


def _encode(pixels: pil.Image, name: str, exact: Tensor | None = None) -> Picture:
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
    return _encode(_upright(pil.fromarray(np.ascontiguousarray(flat)), name), name)


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
    return _encode(pil.fromarray(np.ascontiguousarray(pixels)), name, exact.contiguous())


def _kind(encoded: bytes) -> str:
    start = encoded[:64].lstrip()
    if start.startswith((b"<svg", b"<?xml")):
        return "a drawing in SVG or XML"
    return "text" if encoded[:512].isascii() and b"\0" not in encoded[:512] else "something else"
