"""What a bench asks of samples: which ones to take, which classes of a box are right, and where the object is."""

from __future__ import annotations

import math

import numpy as np
import torch

from salience.case import Data, Sample
from salience.data._lazy import Lazy
from salience.engine import seeding
from salience.errors import DataError, SettingError
from salience.picture import Geometry, read
from salience.types import Region


def shuffle(count: int, seed: int | None) -> list[int]:
    """Return numbers in the order in which a seed draws them, the same on every machine; None: as they come.

    >>> shuffle(5, None), sorted(shuffle(5, seed=0))
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """
    if seed is None:
        return list(range(count))
    drawn: list[int] = torch.randperm(count, generator=seeding.generator(seed, "draw")).tolist()
    return drawn


def take_samples(data: Data, count: int, seed: int | None = 0) -> Data:
    """Take some by seed, in the data's order; a larger draw of the same seed has all of a smaller one.

    >>> data = Data("numbers", [Sample(str(number), None) for number in range(10)])
    >>> len(take_samples(data, 3))
    3
    """
    if count < 1:
        raise SettingError(f"expected at least one sample to draw, got {count}: give a count from 1 to {len(data)}")
    return Data(data.name, Lazy(data.__getitem__, sorted(shuffle(len(data), seed)[:count])))


def make_truth(sample: Sample, geometry: Geometry) -> Region | None:
    """Bring mask or boxes to the size that a box sees; None where the sample has neither.

    Boxes are drawn at the picture's size, their corners cut off to whole pixels; then every pixel of the image looks up
    the nearest one of the picture. What a crop left out is gone, so the region may be empty.

    >>> geometry = Geometry((64, 64), (32, 32), (0, 64, 0, 64))
    >>> int(make_truth(Sample("one", None, boxes=((0, 0, 32, 32),)), geometry).sum())
    256
    """
    if sample.mask is None and not sample.boxes:
        return None
    height, width = geometry.photograph
    place = torch.zeros(height, width) if sample.mask is None else _read_mask(sample)
    if place.shape != (height, width):
        size = " × ".join(str(length) for length in place.shape)
        raise DataError(
            f"expected a mask of {height} × {width} pixels for {sample.id}, got {size}: is it of another picture?"
        )
    for left, top, right, bottom in sample.boxes if sample.mask is None else ():
        if not all(map(math.isfinite, (left, top, right, bottom))):
            raise DataError(f"expected boxes of finite numbers for {sample.id}, got {(left, top, right, bottom)}")
        place[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))] = 1
    if not place.any():
        raise DataError(
            f"expected an object in the picture for {sample.id}, got "
            + ("a mask that is all black" if sample.mask is not None else f"boxes with no pixel of {height} × {width}")
            + ": mend the data set"
        )
    return geometry.project(place) > 0.5


def _read_mask(sample: Sample) -> torch.Tensor:
    values = np.asarray(read(sample.mask).pixels.convert("L"))
    if 0 < values.max() < 128:
        raise DataError(
            f"expected a mask white on black for {sample.id}, got values up to {values.max()}: stretch them to 255"
        )
    return torch.from_numpy(values.copy()).float() / 255
