"""A photograph as the library holds it, and how it is kept in a record."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image as pil
from torch import Tensor

from salience.limits import PICTURE

KEPT = b"PK\x03\x04"  # how an archive of numpy begins


@dataclass(frozen=True)
class Picture:
    """A photograph, upright: an RGB picture to be drawn, and its values where 8 bits or three bands do not hold them.

    >>> from salience.picture import read
    >>> read(np.zeros((4, 6, 3), np.uint8)).size
    (4, 6)
    >>> read(np.zeros((4, 6, 3), np.uint16) + 4095).seen
    '12 bits: black 0, white 4095'
    """

    pixels: pil.Image
    name: str
    exact: Float[Tensor, "c h w"] | None = field(default=None, repr=False)  # 0…1, without a detour over 8 bits
    seen: str = ""  # what black and white were taken for, and which bands are drawn; empty for plain 8 bits
    shown: tuple[int, ...] = ()  # the bands of `exact` that are drawn, from 0
    whole: Shaped[np.ndarray, "h w 4"] | None = field(default=None, repr=False)  # with what was taken for transparency
    file: bytes | None = field(default=None, repr=False)  # what gives this picture again, where it was read from bytes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.height, self.pixels.width

    @cached_property
    def encoded(self) -> bytes:
        """The bytes that `read` makes this picture of again, with the same values; made when they are asked for."""
        if self.file is not None:
            return self.file
        if self.exact is None:
            return _write_png(self.pixels if self.whole is None else pil.fromarray(self.whole))
        return _write_values(self)


def draw_bands(exact: Float[Tensor, "c h w"], shown: Sequence[int]) -> pil.Image:
    """Draw three bands as red, green and blue, or one as grey.

    >>> draw_bands(torch.ones(5, 4, 6), (3, 2, 1)).getpixel((0, 0))
    (255, 255, 255)
    """
    pixels = (exact[list(shown)].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    flat = pixels[:, :, 0] if len(shown) == 1 else np.ascontiguousarray(pixels)
    return pil.fromarray(flat).convert("RGB")


def open_values(encoded: bytes, name: str) -> Picture | None:
    """Read what `encoded` made of a picture with more than 8 bits or three bands; None where it is no such thing.

    >>> from salience.picture import read
    >>> deep = read(np.eye(4, dtype=np.float32) / 3)
    >>> torch.equal(open_values(deep.encoded, "deep").exact, deep.exact)
    True
    """
    try:
        with np.load(io.BytesIO(encoded), allow_pickle=False) as kept:
            if sum(each.file_size for each in kept.zip.infolist()) > PICTURE:
                return None
            values, bands, seen = kept["exact"], kept["shown"], kept["seen"]
    except Exception:  # noqa: BLE001  # any damage, of an archive that has three layers
        return None
    if not _are_possible(values, bands, seen):
        return None
    exact, shown = torch.from_numpy(values), tuple(bands.tolist())
    return Picture(draw_bands(exact, shown), name, exact, str(seen), shown, file=encoded)


def _are_possible(values: np.ndarray, bands: np.ndarray, seen: np.ndarray) -> bool:
    """Say whether arrays can be what `_write_values` wrote."""
    if values.ndim != 3 or values.dtype not in (np.float32, np.float64) or 0 in values.shape:
        return False
    drawn = bands.ndim == 1 and bands.dtype.kind == "i" and len(bands) in (1, 3)
    return (
        drawn
        and seen.dtype.kind == "U"
        and seen.ndim == 0
        and 0 <= bands.min() <= bands.max() < len(values)
        and bool(((values >= 0) & (values <= 1)).all())
    )


def _write_png(pixels: pil.Image) -> bytes:
    file = io.BytesIO()
    pixels.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _write_values(picture: Picture) -> bytes:
    file = io.BytesIO()
    arrays: dict[str, Any] = {"exact": picture.exact, "shown": np.array(picture.shown), "seen": np.array(picture.seen)}
    np.savez_compressed(file, **arrays)
    return file.getvalue()
