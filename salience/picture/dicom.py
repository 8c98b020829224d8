"""DICOM pictures: rescale, window, photometric interpretation, packed frames. Who was pictured is never read.

pydicom is asked for the elements that make the picture and for no others, and none of its messages, which quote values,
gets any further.
"""

from __future__ import annotations

import io
import math
import warnings
import zlib
from typing import Any

import numpy as np
from PIL import Image as pil

from salience import limits
from salience.errors import PictureError
from salience.picture import dicom_values
from salience.picture.depth import Samples

MARK, MARK_AT = b"DICM", 128
GROUPS = (b"\x02\0", b"\x08\0")  # of the first element where the preamble is left out
DEFLATED = b"1.2.840.10008.1.2.1.99"
PALETTES = tuple(f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
SEGMENTED = tuple(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
ELEMENTS = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(f"{palette}{what}" for palette in PALETTES for what in ("Descriptor", "Data")),
    *SEGMENTED,
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", *PIXELS),
]


def recognise(start: bytes) -> bool:
    """Say whether a file that begins so is DICOM, with its preamble or without.

    >>> recognise(bytes(128) + b"DICM"), recognise(b"GIF89a")
    (True, False)
    """
    if start[MARK_AT : MARK_AT + 4] == MARK:
        return True
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    brief = len(start) > 8 and int.from_bytes(start[4:8], "little") <= 64
    little = start[:2] in GROUPS and start[3:4] == b"\0" and (explicit or brief)
    return little or (start[1::-1] in GROUPS and start[2:3] == b"\0" and explicit)


def read(encoded: bytes, name: str, page: int | None, *, windowed: bool = True) -> Samples | pil.Image:
    """Read one frame, at its own depth; `windowed` says whether the file's own window is black and white.

    >>> import pydicom.data
    >>> ct = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    >>> from pathlib import Path
    >>> read(Path(ct).read_bytes(), "ct.dcm", None).values.min()
    np.int16(-896)
    """
    try:
        import pydicom  # noqa: F401  # whether it is there
    except ImportError:
        raise PictureError(
            f"expected the package pydicom for the DICOM picture {name}, got none: pip install 'salience[medical]'"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            return _read(encoded, name, page, windowed)
    except (PictureError, pil.DecompressionBombError):
        raise
    except Exception:  # noqa: BLE001  # a damaged file raises anything, and the message may quote it
        raise PictureError(f"expected a whole DICOM picture in {name}, got a damaged one: get it anew") from None


def open_elements(encoded: bytes, wanted: list[str] | None = None, *, pixels: bool = True) -> Any:
    """Open a file as pydicom does, with these elements alone, or all; PictureError for one that unfolds beyond the limit.

    >>> from pydicom import examples
    >>> open_elements(examples.get_path("ct").read_bytes(), ["Rows"]).Rows
    128
    """
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    _expect_bounded(encoded)
    tags: Any = wanted
    file = pydicom.dcmread(io.BytesIO(encoded), force=True, specific_tags=tags, stop_before_pixels=not pixels)
    if "TransferSyntaxUID" not in file.file_meta:
        implicit, little = file.original_encoding
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain
    return file


def _expect_bounded(encoded: bytes) -> None:
    """Unfold a file that is deflated as a whole, piece by piece, before pydicom does so at once."""
    if DEFLATED not in encoded[: 2**12] or encoded[MARK_AT : MARK_AT + 4] != MARK:
        return
    start = MARK_AT + 16 + int.from_bytes(encoded[MARK_AT + 12 : MARK_AT + 16], "little")
    unfolding = zlib.decompressobj(-zlib.MAX_WBITS)
    rest, total = encoded[start:], 0
    while rest and not unfolding.eof:
        total += len(unfolding.decompress(rest, 2**24))
        rest = unfolding.unconsumed_tail
        if total > limits.PICTURE:
            raise pil.DecompressionBombError


def _read(encoded: bytes, name: str, page: int | None, windowed: bool) -> Samples | pil.Image:  # as in read
    file = open_elements(encoded, ELEMENTS)
    if "Rows" not in file or not any(each in file for each in PIXELS):
        raise PictureError(
            f"expected a picture in {name}, got DICOM without one, such as a report or a structure: give another"
        )
    if file.Rows * file.Columns > 2 * (pil.MAX_IMAGE_PIXELS or math.inf):
        raise pil.DecompressionBombError
    frames = int(file.get("NumberOfFrames") or 1)
    index, said = _choose_frame(frames, name, page)
    raw = _decode(file, index, name)
    if raw.ndim == 3:
        return _read_colours(raw, int(file.BitsStored), said)
    if file.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return _read_colours(apply_color_lut(raw, file), 16 if file.RedPaletteColorLookupTableDescriptor[2] > 8 else 8, said)
    return dicom_values.read_grey(raw, _gather_frame(file, index), said, windowed=windowed)


def _choose_frame(frames: int, name: str, page: int | None) -> tuple[int, str]:
    if page is None and frames > 1:
        raise PictureError(f"expected a still picture in {name}, got {frames} frames: choose one with page=")
    if not 1 <= (page or 1) <= frames:
        raise PictureError(f"expected a page from 1 to {frames} in {name}, got {page}")
    return (page or 1) - 1, f"frame {page} of {frames}" if frames > 1 else ""


def _decode(file: Any, index: int, name: str) -> np.ndarray:
    """Decode a frame as pydicom and its plugins do; colours become RGB."""
    from pydicom.pixels.utils import pixel_array

    packing = file.file_meta.TransferSyntaxUID
    if packing.is_encapsulated:
        from pydicom.encaps import get_frame
        from pydicom.pixels.decoders.base import get_decoder

        try:
            ready = get_decoder(packing).is_available
        except NotImplementedError:  # pydicom has no decoder of this packing, whatever is installed
            ready = False
        if not ready:
            raise PictureError(
                f"expected to unpack {name}, got DICOM packed as {packing.name}: pip install 'salience[medical]'"
            )
        size = find_packed_size(get_frame(file.PixelData, index, number_of_frames=int(file.get("NumberOfFrames") or 1)))
        if size not in (None, (file.Rows, file.Columns)):
            raise PictureError(f"expected {file.Rows}×{file.Columns} pixels in {name}, got another size: get it anew")
    values: np.ndarray = pixel_array(file, index=index, view_only=True)
    for keyword in PIXELS:  # nobody else holds them: a large picture is there once
        file.pop(keyword, None)
    return values


def find_packed_size(stream: bytes) -> tuple[int, int] | None:
    """Read height and width off a JPEG, JPEG-LS or JPEG 2000 before it is unpacked; None for anything else.

    >>> file = io.BytesIO()
    >>> pil.new("L", (6, 4)).save(file, "JPEG")
    >>> find_packed_size(file.getvalue())
    (4, 6)
    """
    at = stream.find(b"\xff\x4f\xff\x51")
    if at >= 0 and not stream.startswith(b"\xff\xd8"):
        x, y, x0, y0 = (int.from_bytes(stream[at + 8 + 4 * each :][:4], "big") for each in range(4))
        return y - y0, x - x0
    at = 2 if stream.startswith(b"\xff\xd8") else len(stream)
    while at + 9 <= len(stream):
        kind = stream[at + 1]
        if (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)) or kind == 0xF7:
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def _read_colours(values: np.ndarray, bits: int, said: str) -> Samples | pil.Image:
    if values.dtype == np.uint8 and not said:
        return pil.fromarray(np.ascontiguousarray(values))
    return Samples(values, 0.0, 2.0**bits - 1 if values.dtype.itemsize > 1 else 255.0, said=said)


def _gather_frame(file: Any, index: int) -> Any:
    """Put what an enhanced file says of one frame, or of all, where a plain file has it."""
    groups = [
        *file.get("SharedFunctionalGroupsSequence", ())[:1],
        *file.get("PerFrameFunctionalGroupsSequence", ())[index:][:1],
    ]
    for group in groups:
        for sequence in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(sequence, ()):
                file.update({element.tag: element for element in item})
    return file
