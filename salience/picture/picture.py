"""A photograph as the library holds it, and how it is kept in a record."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image as pil
from torch import Tensor

from salience import limits
from salience.files import Counted
from salience.picture.depth import Scale, ScaledValues

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

    decoded: pil.Image | None = field(repr=False)  # RGB of 8 bits, where that is all that there is to it
    name: str
    deep: ScaledValues | None = field(default=None, repr=False)  # else its values, without a detour over 8 bits
    seen: str = ""  # what black and white were taken for, and which bands are drawn; empty for plain 8 bits
    shown: tuple[int, ...] = ()  # the bands of `deep` that are drawn, from 0
    whole: Shaped[np.ndarray, "h w 4"] | None = field(default=None, repr=False)  # with what was taken for transparency
    file: bytes | None = field(default=None, repr=False)  # what gives this picture again, where it was read from bytes

    @cached_property
    def pixels(self) -> pil.Image:
        """The RGB picture that is drawn; made when it is asked for."""
        return self.decoded if self.decoded is not None else draw_bands(self._expect_deep(), self.shown)

    @property
    def exact(self) -> Float[Tensor, "c h w"] | None:
        """All values as 0…1; None where 8 bits of RGB are all. Made each time: a large picture is better taken in strips."""
        return None if self.deep is None else self.deep.take()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self._expect_deep().size if self.decoded is None else (self.decoded.height, self.decoded.width)

    @property
    def encoded(self) -> bytes:
        """The bytes that `read` makes this picture of again, with the same values; made when they are asked for."""
        file = io.BytesIO()
        self.write(Counted(file))  # as into a record, where nothing goes back
        return file.getvalue()

    def write(self, file: Any) -> None:
        """Write these bytes to a file piece by piece; it needs no more than `write` and `flush`."""
        if self.file is not None:
            file.write(self.file)
        elif self.decoded is None:
            _write_values(self._expect_deep(), self.shown, self.seen, file)
        else:
            (self.decoded if self.whole is None else pil.fromarray(self.whole)).save(file, "PNG", compress_level=1)

    def _expect_deep(self) -> ScaledValues:
        assert self.deep is not None  # noqa: S101  # one of the two is always there
        return self.deep


def draw_bands(deep: ScaledValues, shown: Sequence[int]) -> pil.Image:
    """Draw three bands as red, green and blue, or one as grey.

    >>> draw_bands(ScaledValues(np.ones((4, 6, 5), np.uint8), Scale(0.0, 1.0)), (3, 2, 1)).getpixel((0, 0))
    (255, 255, 255)
    """
    pixels = np.empty((*deep.size, len(shown)), np.uint8)
    for first, last in deep.strips:
        colours = deep.take(first, last)[list(shown)].permute(1, 2, 0)
        pixels[first:last] = (colours * 255).round().to(torch.uint8).numpy()
    return pil.fromarray(pixels[:, :, 0] if len(shown) == 1 else pixels).convert("RGB")


def open_values(encoded: bytes, name: str) -> Picture | None:
    """Read what `write` made of a picture with more than 8 bits or three bands; None where it is no such thing.

    >>> from salience.picture import read
    >>> deep = read(np.eye(4, dtype=np.float32) / 3)
    >>> torch.equal(open_values(deep.encoded, "deep").exact, deep.exact)
    True
    """
    try:
        with zipfile.ZipFile(io.BytesIO(encoded)) as packed:
            if sum(each.file_size for each in packed.infolist()) > limits.PICTURE:
                return None
        with np.load(io.BytesIO(encoded), allow_pickle=False) as kept:
            deep, bands, seen = _read_values(kept), kept["shown"], kept["seen"]
    except Exception:  # noqa: BLE001  # any damage, of an archive that has three layers
        return None
    if not _are_possible(deep, bands, seen):
        return None
    return Picture(None, name, deep, str(seen), tuple(bands.tolist()), file=encoded)


def _are_possible(deep: ScaledValues, bands: np.ndarray, seen: np.ndarray) -> bool:
    """Say whether arrays can be what `_write_values` wrote."""
    values, levels = deep.values, [np.asarray(each) for each in (deep.scale.black, deep.scale.white)]
    if values.ndim != 3 or values.dtype.kind not in "buif" or 0 in values.shape:
        return False
    if any(each.shape not in ((), values.shape[2:]) or each.dtype.kind not in "buif" for each in levels):
        return False
    if deep.missing is not None and (deep.missing.shape != values.shape[:2] or deep.missing.dtype != np.bool_):
        return False
    drawn = bands.ndim == 1 and bands.dtype.kind == "i" and len(bands) in (1, 3)
    return (
        drawn
        and seen.dtype.kind == "U"
        and seen.ndim == 0
        and 0 <= bands.min() <= bands.max() < deep.bands
        and deep.is_finite()
    )


def _read_values(arrays: Mapping[str, np.ndarray]) -> ScaledValues:
    if "exact" in arrays:  # as records had it: scaled, and with the bands first
        return ScaledValues(np.moveaxis(arrays["exact"], 0, 2), Scale(0.0, 1.0))
    return ScaledValues(
        arrays["values"], Scale(arrays["black"], arrays["white"]), bool(arrays["alpha"]), arrays.get("missing")
    )


def _write_values(deep: ScaledValues, shown: Sequence[int], seen: str, file: Any) -> None:
    """Write an archive of numpy, packed lightly: what is left of sixteen bits of noise is hardly less at any effort."""
    arrays: dict[str, Any] = {"values": deep.values, "black": deep.scale.black, "white": deep.scale.white}
    arrays |= {"alpha": deep.alpha, "shown": shown, "seen": seen}
    arrays |= {} if deep.missing is None else {"missing": deep.missing}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, array in arrays.items():
            with packed.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.asarray(array), allow_pickle=False)
