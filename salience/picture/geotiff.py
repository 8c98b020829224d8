"""A part of a TIFF that may be larger than memory, and where on Earth a picture lies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pil

from salience import limits
from salience.errors import PictureError
from salience.picture.depth import Samples
from salience.picture.numbers import read_numbers
from salience.picture.tiff import find_missing


def read_region(given: Any) -> tuple[int, int, int, int] | None:
    """Read which part of a picture is meant: row, column, height and width, in pixels; None for all of it.

    >>> read_region("0,512,256,256"), read_region(None)
    ((0, 512, 256, 256), None)
    """
    if given is None:
        return None
    numbers = read_numbers(given, "region")
    if len(numbers) != 4 or not all(number.is_integer() and number >= 0 for number in numbers) or min(numbers[2:]) < 1:
        raise PictureError(f"expected row, column, height and width as region, got {given!r}: give four numbers")
    row, column, height, width = (int(number) for number in numbers)
    return row, column, height, width


def expect_inside(region: Sequence[int], size: Sequence[int], name: str) -> None:
    """Raise PictureError for a part that is not in a picture.

    >>> expect_inside((0, 0, 4, 6), (4, 6), "scene.tif")
    """
    (row, column, *extent), (height, width) = region, size
    if row + extent[0] > height or column + extent[1] > width:
        said = ", ".join(map(str, region))
        raise PictureError(f"expected a region within {height}×{width} pixels in {name}, got {said}: take a smaller one")


def cut(decoded: pil.Image | Samples, region: Sequence[int], name: str) -> pil.Image | Samples:
    """Take a part of a picture that is decoded.

    >>> cut(Samples(np.zeros((4, 6, 1))), (1, 2, 3, 4), "array").values.shape
    (3, 4, 1)
    """
    row, column, height, width = region
    if isinstance(decoded, pil.Image):
        expect_inside(region, (decoded.height, decoded.width), name)
        return decoded.crop((column, row, column + width, row + height))
    expect_inside(region, decoded.values.shape[:2], name)
    part = slice(row, row + height), slice(column, column + width)
    missing = None if decoded.missing is None else decoded.missing[part]
    return replace(decoded, values=decoded.values[part].copy(), missing=missing)


@contextmanager
def open_file(path: Path, name: str) -> Iterator[Any]:
    """Open a TIFF by rasterio: this file alone, no other that lies beside it, and no other kind.

    >>> import tempfile
    >>> import tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(f"{folder}/field.tif", np.zeros((8, 9), np.uint16))
    ...     with open_file(Path(folder, "field.tif"), "field.tif") as file:
    ...         file.shape
    (8, 9)
    """
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError:
        raise PictureError(
            f"expected the package rasterio for a region of {name}, got none: pip install 'salience[geo]'"
        ) from None
    import warnings

    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(limits.expect_file(path, limits.WEIGHTS).absolute(), driver="GTiff") as file:
                yield file
    except (RasterioError, OSError) as problem:
        raise PictureError(f"expected a whole TIFF in {name}, got a damaged one ({problem}): get it anew") from problem


def read(path: Path, name: str, region: Sequence[int]) -> Samples:
    """Read a part of a TIFF and nothing else of it.

    >>> import tempfile, tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(f"{folder}/a.tif", np.arange(48, dtype=np.uint16).reshape(6, 8))
    ...     read(Path(folder, "a.tif"), "a.tif", (1, 2, 1, 3)).values[:, :, 0]
    array([[10, 11, 12]], dtype=uint16)
    """
    row, column, height, width = region
    with open_file(path, name) as file:
        expect_inside(region, file.shape, name)
        size = max(np.dtype(each).itemsize for each in file.dtypes)
        most = max([height * width * file.count, *(math.prod(each) * file.count for each in file.block_shapes)])
        if most * size > limits.PICTURE:
            raise PictureError(
                f"expected at most {limits.PICTURE:,} bytes at once in {name}, got more: take a smaller region"
            )
        values = np.moveaxis(file.read(window=((row, row + height), (column, column + width))), 0, 2)
        nodata = file.nodata
        said = f"rows {row} to {row + height - 1}, columns {column} to {column + width - 1} of {file.height}×{file.width}"
    return Samples(np.ascontiguousarray(values), said=said, missing=find_missing(values, nodata))
