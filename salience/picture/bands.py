"""Which axis holds the bands of an array, which bands are taken, which are drawn. They are counted from 1, as in GDAL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from salience.errors import PictureError
from salience.picture.numbers import read_numbers

MOST = 64  # bands; an axis that is longer is a side
COLOURS = (1, 3, 4)


def to_bands_last(array: np.ndarray, name: str, *, first: bool) -> Shaped[np.ndarray, "h w c"]:
    """Give an array as (h w c); `first` says where the bands are when both ends of its shape could be bands.

    >>> [to_bands_last(np.zeros(shape), "array", first=False).shape for shape in ((8, 9), (8, 9, 3), (6, 80, 90))]
    [(8, 9, 1), (8, 9, 3), (80, 90, 6)]
    """
    if array.ndim in (2, 3) and 0 in array.shape:
        raise PictureError(f"expected a picture of at least one pixel in {name}, got shape {array.shape}")
    if array.ndim == 2:
        return array[:, :, None]
    axis = _find_band_axis(array.shape, first=first) if array.ndim == 3 else None
    if axis is None:
        raise PictureError(
            f"expected an array (h w), (h w c) or (c h w) of at most {MOST} bands as {name}, got shape {array.shape}: "
            "give one picture at a time"
        )
    return np.moveaxis(array, axis, 2)


def _find_band_axis(shape: Sequence[int], *, first: bool) -> int | None:
    order = (0, 2) if first else (2, 0)
    likely = [axis for axis in order if shape[axis] in COLOURS]
    if likely:
        return likely[0]
    short = [axis for axis in order if shape[axis] <= MOST]
    return min(short, key=lambda axis: shape[axis], default=None)


def choose_bands(wanted: Any, count: int, name: str) -> list[int]:
    """Read which bands are taken, in their order, as indices from 0; all of them where nobody says.

    >>> choose_bands("4,3,2", 6, "scene.tif"), choose_bands(None, 2, "pair.npy")
    ([3, 2, 1], [0, 1])
    """
    if wanted is None:
        return list(range(count))
    numbers = read_numbers(wanted, "bands")
    for number in numbers:
        if number not in range(1, count + 1):
            raise PictureError(f"expected bands from 1 to {count} in {name}, got {number:g}: they are counted from 1")
    return [int(number) - 1 for number in numbers]


def choose_shown(wanted: Any, count: int, name: str) -> tuple[int, ...]:
    """Read which bands are drawn as red, green and blue, or the one that is drawn as grey; the first where nobody says.

    >>> choose_shown(None, 6, "scene.tif"), choose_shown(None, 2, "pair.npy"), choose_shown("3,2,1", 6, "scene.tif")
    ((0, 1, 2), (0,), (2, 1, 0))
    """
    if wanted is None:
        return (0, 1, 2) if count >= 3 else (0,)
    shown = tuple(choose_bands(wanted, count, name))
    if len(shown) not in (1, 3):
        raise PictureError(f"expected three bands for rgb, or one, got {len(shown)}: give them as in rgb=4,3,2")
    return shown


def describe_bands(taken: Sequence[int], shown: Sequence[int], count: int) -> str:
    """Say which bands of a file were taken and which are drawn; nothing for one band, or for three as they came.

    >>> describe_bands([0, 1, 2, 3], (0, 1, 2), 4), describe_bands([3, 2, 1], (0, 1, 2), 6)
    ('4 bands, 1, 2, 3 drawn as red, green, blue', '3 of 6 bands (4, 3, 2)')
    """
    whole = list(taken) == list(range(count))
    if whole and count in (1, 3) and list(shown) == list(range(count)):
        return ""
    text = f"{count} bands" if whole else f"{len(taken)} of {count} bands ({_count_from_one(taken)})"
    if list(shown) == list(range(len(taken))):
        return text
    colours = "red, green, blue" if len(shown) == 3 else "grey"
    return f"{text}, {_count_from_one([taken[each] for each in shown])} drawn as {colours}"


def _count_from_one(bands: Sequence[int]) -> str:
    return ", ".join(str(band + 1) for band in bands)
