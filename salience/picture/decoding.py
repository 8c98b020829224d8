"""From the bytes of a file to pixels: Pillow's for 8 bits, samples for what is deeper or has more bands."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL
from PIL import Image as pil
from PIL import ImageOps

from salience.errors import PictureError, SalienceError
from salience.picture import dicom, tiff
from salience.picture.bands import to_bands_last
from salience.picture.depth import Samples

PNG, NPY = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"
PLAIN = {"La": "LA", "RGBa": "RGBA"}  # colours that were multiplied by their transparency
ORIENTATION = 0x0112
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif", ".dcm"}
)
CLEAR = ("RGBA", "LA", "PA", "RGBa", "La")


def looks_like_picture(path: Path) -> bool:
    """Say whether a file of a folder is a picture: by its name, and DICOM, whose files often have none, by its beginning.

    >>> looks_like_picture(Path("dog.JPG")), looks_like_picture(Path("notes.txt"))
    (True, False)
    """
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # a file may be called by a number of the standard
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == dicom.MARK


def decode(encoded: bytes, name: str, page: int | None, *, stack: bool, windowed: bool = True) -> pil.Image | Samples:
    """Decode a file upright; `page` chooses one of several from 1, `stack` makes bands of the pages of a TIFF.

    `windowed` says whether a DICOM's own window is black and white.

    >>> file = io.BytesIO()
    >>> pil.fromarray(np.full((4, 6), 4095, np.uint16)).save(file, "PNG")
    >>> int(decode(file.getvalue(), "deep", None, stack=False).values.max())
    4095
    """
    if not encoded:
        raise PictureError(f"expected a picture in {name}, got an empty file")
    with _in_one_sentence(encoded, name):
        if dicom.recognise(encoded[:160]):
            return dicom.read(encoded, name, page, windowed=windowed)
        if encoded.startswith(NPY):
            return Samples(to_bands_last(np.load(io.BytesIO(encoded), allow_pickle=False), name, first=False))
        if encoded.startswith(tiff.STARTS):
            return _decode_tiff(encoded, name, page, stack=stack)
        with pil.open(io.BytesIO(encoded)) as image:
            turn_to_page(image, name, page)
            deep = _read_deep_png(encoded, image) if encoded.startswith(PNG) else None
            return deep or load(image, name)


def turn_to_page(image: pil.Image, name: str, page: int | None) -> None:
    """Go to a page or frame, counted from 1; without one, there may be one only.

    >>> turn_to_page(pil.new("L", (2, 2)), "grey", 2)
    Traceback (most recent call last):
        ...
    salience.errors.PictureError: expected a page from 1 to 1 in grey, got 2
    """
    frames = getattr(image, "n_frames", 1)
    if page is not None:
        if not 1 <= page <= frames:
            raise PictureError(f"expected a page from 1 to {frames} in {name}, got {page}")
        image.seek(page - 1)
    elif frames > 1 and image.format != "MPO":  # a telephone's MPO is a photograph with a smaller copy or a depth map
        raise PictureError(f"expected a still picture in {name}, got {frames} frames: extract one of them, or give page=")


def load(image: pil.Image, name: str) -> pil.Image | Samples:
    """Load an image of Pillow, upright; one of more than 8 bits gives samples.

    >>> load(pil.fromarray(np.full((4, 6), 0.5, np.float32)), "floats").values.shape
    (4, 6, 1)
    """
    if 0 in image.size:
        raise PictureError(f"expected a picture of at least one pixel in {name}, got {image.width}×{image.height}")
    try:
        image.load()
        turned = ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image  # it copies
        turned = turned.convert(PLAIN[turned.mode]) if turned.mode in PLAIN else turned
    except Exception as problem:  # a decoder's, of whatever kind
        raise PictureError(f"expected a whole picture in {name}, got a damaged one ({problem}): get it anew") from problem
    if turned.mode.startswith("I") or turned.mode == "F":
        return Samples(np.asarray(turned)[:, :, None])
    return turned


@contextmanager
def _in_one_sentence(encoded: bytes, name: str) -> Iterator[None]:
    """Say what goes wrong with a file in one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pil.DecompressionBombWarning)  # twice as many pixels are an error
            yield
    except PIL.UnidentifiedImageError:
        raise PictureError(f"expected a picture in {name}, got {_kind(encoded)}: give a JPEG, PNG or the like") from None
    except pil.DecompressionBombError:
        limit = f"{2 * (pil.MAX_IMAGE_PIXELS or 0):,}"
        raise PictureError(f"expected at most {limit} pixels in {name}, got more: scale it down first") from None
    except SalienceError:
        raise
    except Exception as problem:  # a decoder's, of whatever kind
        raise PictureError(f"expected a whole picture in {name}, got a damaged one ({problem}): get it anew") from problem


def _kind(encoded: bytes) -> str:
    start = encoded[:64].lstrip()
    if start.startswith((b"<svg", b"<?xml")):
        return "a drawing in SVG or XML"
    return "text" if encoded[:512].isascii() and b"\0" not in encoded[:512] else "something else"


def _decode_tiff(encoded: bytes, name: str, page: int | None, *, stack: bool) -> pil.Image | Samples:
    """Let tifffile look first; what is plain 8 bits, and what it cannot unpack, is Pillow's."""
    found = tiff.read(encoded, name, page, stack=stack)
    if isinstance(found, Samples):
        return found
    with pil.open(io.BytesIO(encoded)) as image:
        image.seek(found.index)
        if image.mode in ("RGB", "RGBA") and found.bits == 16:
            native, other = ("L", "B") if sys.byteorder == "little" else ("B", "L")
            high, low = (_unpack(encoded, f"{image.mode};16{order}", found.index) for order in (native, other))
            values = _join(high, low)
        else:
            opened = load(image, name)
            if isinstance(opened, pil.Image):
                return opened
            values = opened.values
    return Samples(values, found.black, found.white, values.shape[2] == 4, found.said)


def _read_deep_png(encoded: bytes, image: pil.Image) -> Samples | None:
    """Read 16 bits a colour, which Pillow halves, in two goes: the high bytes, then the low ones."""
    depth, kind = encoded[24], encoded[25]
    if depth != 16 or "transparency" in image.info or kind == 4:  # of grey with transparency Pillow has the high bytes alone
        return None
    if kind == 0:
        values = np.asarray(ImageOps.exif_transpose(image))[:, :, None]
    else:
        high, low = (_unpack(encoded, f"{image.mode};16{order}") for order in "BL")
        values = _join(high, low)
    return Samples(values, white=_find_png_white(encoded, values), alpha=values.shape[2] == 4)


def _unpack(encoded: bytes, rawmode: str, index: int = 0) -> np.ndarray:
    with pil.open(io.BytesIO(encoded)) as image:
        image.seek(index)
        image.tile = [
            tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode) for tile in image.tile
        ]
        unpacked: np.ndarray = np.asarray(ImageOps.exif_transpose(image))
        return unpacked


def _join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    joined: np.ndarray = high.astype(np.uint16) << 8 | low
    return joined


def _find_png_white(encoded: bytes, values: np.ndarray) -> float | None:
    """Read the chunk sBIT, how many bits are meant. The standard scales them up to 16; some who write files do not."""
    at = encoded.find(b"sBIT", 8, encoded.find(b"IDAT"))
    bits = encoded[at + 4] if at > 0 else 16
    unscaled = 0 < bits < 16 and values.max() < 2**bits and bool((values % 2 ** (16 - bits)).any())
    return float(2**bits - 1) if unscaled else 65535.0 if at > 0 else None
