"""TIFF files that Pillow reads at 8 bits or not at all: deep, signed, floats, many bands, several pages."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as pil

from salience.errors import PictureError
from salience.picture.bands import MOST
from salience.picture.depth import Samples

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NODATA = 42113  # of GDAL
REDUCED, MASK = 1, 4  # bits of NewSubfileType
LEAST, MOST_VALUES = (340, 280), (341, 281)  # SMinSampleValue, MinSampleValue; SMaxSampleValue, MaxSampleValue
INVERTED, PLAIN = 0, (0, 1, 2, 3, 5, 6)  # photometric: white is zero; grey, RGB, palette, CMYK, YCbCr
TURNS = {2: (1, 0), 3: (0, 2), 4: (1, 2), 5: (1, 3), 6: (0, 3), 7: (1, 1), 8: (0, 1)}  # mirror, quarter turns to the left


@dataclass(frozen=True)
class PillowPage:
    """A page that Pillow reads, and what the file says of its values.

    >>> PillowPage(0, 8).said
    ''
    """

    index: int
    bits: int
    black: float | None = None
    white: float | None = None
    said: str = ""


def read(encoded: bytes, name: str, page: int | None, *, stack: bool = False) -> Samples | PillowPage:
    """Read a page, or say which one Pillow reads as well; `stack` makes one picture of pages of one band each.

    >>> import tifffile
    >>> file = io.BytesIO()
    >>> tifffile.imwrite(file, np.full((4, 6), 4095, np.uint16))
    >>> read(file.getvalue(), "deep.tif", None).values.shape
    (4, 6, 1)
    """
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what is wrong is said in one sentence
    try:
        with tifffile.TiffFile(io.BytesIO(encoded)) as file:
            pages = [each.aspage() for each in file.pages]
            if stack and page is None and len(pages) > 1 and _are_alike(pages):
                values = np.stack([_turn(each.asarray(), each) for each in pages], axis=2)
                return Samples(values, *_find_range(pages[0]), missing=find_missing(values, _find_nodata(pages[0])))
            index, said = _choose_page(pages, name, page)
            return _read_page(pages[index], name, index, said)
    except tifffile.TiffFileError as problem:
        raise PictureError(f"expected a whole picture in {name}, got a damaged one ({problem}): get it anew") from problem


def _are_alike(pages: Sequence[Any]) -> bool:
    first = pages[0]
    return len(pages) <= MOST and all(
        each.samplesperpixel == 1 and each.shape == first.shape and each.dtype == first.dtype for each in pages
    )


def _choose_page(pages: Sequence[Any], name: str, wanted: int | None) -> tuple[int, str]:
    """Take the page that was asked for, else the only one that is no thumbnail and no mask."""
    if wanted is not None:
        if not 1 <= wanted <= len(pages):
            raise PictureError(f"expected a page from 1 to {len(pages)} in {name}, got {wanted}")
        return wanted - 1, f"page {wanted} of {len(pages)}" if len(pages) > 1 else ""
    full = [index for index, each in enumerate(pages) if not int(each.subfiletype or 0) & (REDUCED | MASK)]
    areas = {index: pages[index].imagewidth * pages[index].imagelength for index in full or range(len(pages))}
    largest = [index for index, area in areas.items() if area == max(areas.values())]
    if len(largest) > 1:
        raise PictureError(
            f"expected one picture in {name}, got {len(pages)} pages: choose one with page=, or all as bands with "
            f"bands=1,…,{len(pages)}"
        )
    return largest[0], f"page {largest[0] + 1} of {len(pages)}, the largest" if len(areas) > 1 else ""


def _read_page(page: Any, name: str, index: int, said: str) -> Samples | PillowPage:
    if page.imagewidth * page.imagelength > 2 * (pil.MAX_IMAGE_PIXELS or np.inf):
        raise pil.DecompressionBombError
    bits = page.bitspersample
    black, white = _find_range(page)
    simple = page.samplesperpixel <= 3 or (page.samplesperpixel == 4 and (page.photometric == 5 or page.extrasamples))
    nodata = _find_nodata(page)
    if bits <= 8 and simple and page.photometric in PLAIN and page.sampleformat in (1, None) and nodata is None:
        return PillowPage(index, bits, black, white, said)
    try:
        values = page.asarray()
    except ValueError as problem:  # packed in a way that asks for another package
        if "imagecodecs" not in str(problem):
            raise
        if page.samplesperpixel not in (1, 3, 4):
            raise PictureError(
                f"expected to unpack {name}, got a TIFF packed as {page.compression.name}: install imagecodecs, or unpack it"
            ) from problem
        return PillowPage(index, bits, black, white, said)
    clear = page.samplesperpixel == 4 and page.photometric == 2 and bool(set(page.extrasamples) & {1, 2})
    upright = _turn(_to_bands_last(values, page), page)
    return Samples(upright, black, white, clear, said, find_missing(upright, nodata))


def _find_range(page: Any) -> tuple[float | None, float | None]:
    """Read black and white where the file states them: least and most values, or bits that are no usual ones."""
    low, high = (_read_tag(page, codes) for codes in (LEAST, MOST_VALUES))
    bits = page.bitspersample
    if low is not None and high is not None and low < high:
        black, white = low, high
    elif bits not in (1, 8, 16, 24, 32, 64) and page.sampleformat in (1, None):
        black, white = 0.0, 2.0**bits - 1
    elif page.photometric == INVERTED and page.dtype is not None and page.dtype.kind == "u":
        black, white = 0.0, float(np.iinfo(page.dtype).max)
    else:
        return None, None
    return (white, black) if page.photometric == INVERTED else (black, white)


def _find_nodata(page: Any) -> float | None:
    """Read the value that GDAL wrote as meaning none."""
    tag = page.tags.get(NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip("\0 "))
    except ValueError:
        return None


def find_missing(values: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """Find the pixels of which a band says that there are no data.

    >>> find_missing(np.array([[[7, 1], [7, 7]]]), 1)
    array([[ True, False]])
    """
    if nodata is None:
        return None
    missing = (np.isnan(values) if np.isnan(nodata) else values == nodata).any(axis=2)
    return missing if missing.any() and not missing.all() else None


def _read_tag(page: Any, codes: Sequence[int]) -> float | None:
    for code in codes:
        tag = page.tags.get(code)
        if tag is not None:
            values = tag.value if isinstance(tag.value, tuple) else (tag.value,)
            return float(min(values) if codes is LEAST else max(values))
    return None


def _to_bands_last(values: np.ndarray, page: Any) -> np.ndarray:
    if values.ndim == 2:
        return values[:, :, None]
    return np.moveaxis(values, 0, 2) if page.axes.startswith("S") else values


def _turn(values: np.ndarray, page: Any) -> np.ndarray:
    """Bring upright what a scanner or a telephone wrote lying."""
    tag = page.tags.get(274)
    mirrored, quarters = TURNS.get(int(tag.value) if tag is not None else 1, (0, 0))
    turned = np.rot90(values, quarters)
    return np.flip(turned, 1) if mirrored else turned
