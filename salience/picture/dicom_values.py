"""What the stored values of a grey DICOM picture mean, and which of them its file shows black and white."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from salience.picture.depth import Samples

SIGMOID, EXACT = "SIGMOID", "LINEAR_EXACT"  # as the standard spells them


def read_grey(raw: np.ndarray, file: Any, said: str, *, windowed: bool) -> Samples:
    """Give stored values their meaning, with the file's own black and white if `windowed`.

    >>> from pydicom import Dataset
    >>> file = Dataset()
    >>> file.PhotometricInterpretation, file.WindowCenter, file.WindowWidth = "MONOCHROME2", 40, 400
    >>> samples = read_grey(np.zeros((4, 6), np.int16), file, "", windowed=True)
    >>> samples.black, samples.white
    (-160.0, 239.0)
    """
    missing = _find_padding(raw, file)
    values, (black, white) = _rescale(raw, file)
    if windowed:
        values, black, white = _apply_window(values, file, black, white)
    if file.PhotometricInterpretation == "MONOCHROME1":
        if black is None or white is None:
            black, white = float(values.min()), float(values.max())
        black, white = white, black
    return Samples(values[:, :, None], black, white, said=said, missing=missing)


def _find_padding(raw: np.ndarray, file: Any) -> np.ndarray | None:
    """Find what the scanner filled in around what it saw."""
    given = [file.get(each) for each in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if not isinstance(given[0], int) or raw.dtype.kind not in "ui":
        return None
    first, last = (np.array(each if isinstance(each, int) else given[0]).astype(raw.dtype) for each in given)
    missing = (raw >= min(first, last)) & (raw <= max(first, last))
    return missing if missing.any() and not missing.all() else None


def _rescale(raw: np.ndarray, file: Any) -> tuple[np.ndarray, tuple[float | None, float | None]]:
    """Turn stored values into what they mean, as Hounsfield units, and find the range that the file's bits have."""
    from pydicom.pixels.processing import apply_modality_lut

    if "ModalityLUTSequence" in file:
        return apply_modality_lut(raw, file), (None, None)
    scale, offset = float(file.get("RescaleSlope", 1)), float(file.get("RescaleIntercept", 0))
    if not (math.isfinite(scale) and math.isfinite(offset) and scale):
        raise ValueError
    bits = int(file.get("BitsStored", 8))
    stated = raw.dtype.kind == "u" and bits not in (8, 16, 32)
    black, white = (offset, (2.0**bits - 1) * scale + offset) if stated else (None, None)
    if (scale, offset) == (1, 0):
        return raw, (black, white)
    if raw.dtype.kind == "f" or not (scale.is_integer() and offset.is_integer()):
        return raw * scale + offset, (black, white)
    ends = [int(each) * int(scale) + int(offset) for each in (raw.min(), raw.max())]
    kinds = (raw.dtype, np.int16, np.int32, np.int64)
    kind = next(each for each in kinds if np.iinfo(each).min <= min(ends) and max(ends) <= np.iinfo(each).max)
    scaled = raw.astype(kind)
    scaled *= np.array(int(scale)).astype(kind)
    scaled += np.array(int(offset)).astype(kind)
    return scaled, (black, white)  # what overflows on the way comes back, for the ends fit


def _apply_window(
    values: np.ndarray, file: Any, black: float | None, white: float | None
) -> tuple[np.ndarray, float | None, float | None]:
    """Take black and white from the file's first table or window; PS3.3 C.11.2."""
    from pydicom.pixels.processing import apply_voi

    if file.get("VOILUTSequence") and values.dtype.kind in "ui":
        return apply_voi(values, file, index=0), 0.0, 2.0 ** file.VOILUTSequence[0].LUTDescriptor[2] - 1
    center, width = (_read_first(file.get(each)) for each in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return values, black, white
    function = file.get("VOILUTFunction", "LINEAR")
    if function == SIGMOID:
        return 1 / (1 + np.exp(-4 * (values - center) / width)), 0.0, 1.0
    if function == EXACT:
        return values, center - width / 2, center + width / 2
    low = center - 0.5 - (width - 1) / 2
    return values, low, low + max(width - 1, 0.01)  # a width of one is a step


def _read_first(given: Any) -> float | None:
    first = given[0] if isinstance(given, (list, tuple)) or hasattr(given, "append") else given
    value = math.nan if first is None else float(first)
    return value if math.isfinite(value) else None
