"""What black and white are: a picture's values of any depth, brought to 0…1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from salience.errors import PictureError
from salience.picture.numbers import read_numbers

DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras and scanners; what needs more spans its own range
STRIP = 2**22  # values that are scaled at once where all of them may be too many
BRIGHT = 64  # floats that reach it and stay within 255 are plainly 0…255

Values = Shaped[np.ndarray, "h w c"]


@dataclass(frozen=True)
class Samples:
    """What a file or an array holds before it is scaled, and what it says of that.

    >>> Samples(np.zeros((4, 6, 3), np.uint16), white=4095).white
    4095
    """

    values: Values
    black: float | None = None  # None: not stated
    white: float | None = None
    alpha: bool = False  # whether the last band is transparency
    said: str = ""  # what else a reader should know, as in "page 1 of 3"
    missing: Shaped[np.ndarray, "h w"] | None = None  # where there are no data


@dataclass(frozen=True)
class Scale:
    """What is shown as black and as white, one value or one for each band, and that in words.

    >>> Scale(0.0, 4095.0, "12 bits").describe()
    '12 bits: black 0, white 4095'
    """

    black: Any
    white: Any
    kind: str = ""

    def describe(self) -> str:
        """Say it; nothing for 8 bits, and for floats from 0 to 1."""
        if self.kind in ("", "8 bits", "bool") or (self.kind == "floats" and (self.black, self.white) == (0, 1)):
            return ""
        return f"{self.kind}: black {_say(self.black)}, white {_say(self.white)}"

    def apply(self, values: Values) -> Float[Tensor, "c h w"]:
        """Bring values to 0…1: black becomes 0, white 1, and what lies beyond is cut off."""
        kind: Any = np.float64 if values.dtype.itemsize > 2 or values.dtype.kind == "f" else np.float32
        black, white = np.asarray(self.black, kind), np.asarray(self.white, kind)
        unit = np.clip((values.astype(kind) - black) / (white - black), 0, 1)
        kept = unit if values.dtype == np.float64 else unit.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(kept.transpose(2, 0, 1)))


@dataclass(frozen=True)
class ScaledValues:
    """A picture's values at their own depth and what makes 0…1 of them, which takes as much memory as is asked for at once.

    >>> ScaledValues(np.full((4, 6, 1), 819, np.uint16), Scale(0.0, 4095.0)).take(0, 2)[0, 0, 0]
    tensor(0.2000)
    """

    values: Values
    scale: Scale
    alpha: bool = False  # whether the last band is transparency, which is laid over white
    missing: Shaped[np.ndarray, "h w"] | None = None  # shown black

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def bands(self) -> int:
        """How many there are, without transparency."""
        return int(self.values.shape[2]) - self.alpha

    @property
    def strips(self) -> list[tuple[int, int]]:
        """The rows to take at once where not all are wanted together: first, and last plus one."""
        rows = max(1, STRIP // (self.values.shape[1] * self.values.shape[2]))
        return [(first, min(first + rows, self.size[0])) for first in range(0, self.size[0], rows)]

    def is_finite(self) -> bool:
        """Say whether 0…1 can be made of the values: they, their levels, and what lies between these are finite."""
        black, white = (np.asarray(each, np.float64) for each in (self.scale.black, self.scale.white))
        present = self.values if self.missing is None else self.values[~self.missing]
        ends = np.array([present.min(), present.max()], np.float64)
        with np.errstate(all="ignore"):
            spans = [white - black, *(np.subtract.outer(ends, black)), ends]
        return all(bool(np.isfinite(each).all()) for each in spans) and bool(np.all(white != black))

    def take(self, first: int = 0, last: int | None = None) -> Float[Tensor, "c h w"]:
        """Return rows as 0…1."""
        unit = self.scale.apply(self.values[first:last])
        if self.missing is not None:
            unit[:, torch.from_numpy(self.missing[first:last])] = 0
        return unit[:-1] * unit[-1:] + 1 - unit[-1:] if self.alpha else unit


def find_scale(samples: Samples, black: Any, white: Any, name: str) -> Scale:
    """Find what black and white are: what was given, else what the file states, else the range that the values plainly have.

    >>> find_scale(Samples(np.full((4, 6, 1), 1000, np.uint16)), None, None, "dark").describe()
    '10 bits: black 0, white 1023'
    >>> find_scale(Samples(np.array([[[-1024], [1500]]], np.int16)), None, None, "CT").describe()
    '12 bits, signed: black -1024, white 3071'
    """
    present = samples.values if samples.missing is None else samples.values[~samples.missing][None]
    _expect_values(present, name)
    plain = _find_plain_scale(present)
    if samples.black is not None or samples.white is not None:
        plain = _replace(plain, samples.black, samples.white, f"{samples.values.dtype.name}, as the file states")
    if black is None and white is None:
        return plain
    bands = samples.values.shape[2]
    found = _replace(
        plain, _read_level(black, "black", bands), _read_level(white, "white", bands), samples.values.dtype.name
    )
    if not np.all(np.asarray(found.white) != np.asarray(found.black)):
        raise PictureError(f"expected black and white to differ in {name}, got {_say(found.black)} for both: give another")
    return found


def _expect_values(values: Values, name: str) -> None:
    if values.dtype.kind not in "buif":
        raise PictureError(f"expected numbers as pixels in {name}, got {values.dtype}: convert them to integers or floats")
    if values.dtype.kind == "f" and not (np.isfinite(values.min()) and np.isfinite(values.max())):  # NaN is its own least
        raise PictureError(f"expected finite pixel values in {name}, got NaN or infinity: replace them first")


def _find_plain_scale(values: Values) -> Scale:
    if values.dtype.kind == "b":
        return Scale(0.0, 1.0, "bool")
    if values.dtype == np.uint8:
        return Scale(0.0, 255.0, "8 bits")
    low, high = float(values.min()), float(values.max())
    return _find_float_scale(values, low, high) if values.dtype.kind == "f" else _find_integer_scale(low, high)


def _find_integer_scale(low: float, high: float) -> Scale:
    """Take the smallest depth that holds the values, counted from the least one where some are below zero."""
    black, sign = (low, ", signed") if low < 0 else (0.0, "")
    bits = next((each for each in DEPTHS if high - black < 2**each), None)
    if bits is None:
        return Scale(black, high, f"more than {DEPTHS[-1]} bits{sign}")
    return Scale(black, black + 2**bits - 1, f"{bits} bits{sign}")


def _find_float_scale(values: Values, low: float, high: float) -> Scale:
    if low >= 0 and high <= 1:
        return Scale(0.0, 1.0, "floats")
    if low >= -1 and high <= 1:
        return Scale(-1.0, 1.0, "floats")
    if low >= 0 and high <= 255 and (high >= BRIGHT or bool((values == np.round(values)).all())):
        return Scale(0.0, 255.0, "floats")
    return Scale(low, high if high > low else low + max(1.0, abs(low)), "floats")


def _replace(scale: Scale, black: Any, white: Any, kind: str) -> Scale:
    return replace(
        scale, black=scale.black if black is None else black, white=scale.white if white is None else white, kind=kind
    )


def _read_level(given: Any, what: str, bands: int) -> Any:
    """Read a level: one value, or one for each band."""
    if given is None:
        return None
    levels = read_numbers(given, what)
    if len(levels) not in (1, bands):
        raise PictureError(
            f"expected one value for {what}, or one for each of {bands} bands, got {len(levels)}: give {bands}"
        )
    return levels[0] if len(levels) == 1 else tuple(levels)


def _say(level: float | Sequence[float]) -> str:
    return ", ".join(f"{each:.6g}" for each in level) if isinstance(level, Sequence) else f"{level:.6g}"
