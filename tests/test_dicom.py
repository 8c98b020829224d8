"""DICOM pictures: what pydicom reads, in the file's own black and white, and nobody's name."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pil

from salience.errors import PictureError
from salience.picture import read

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402  # after the look whether it is there
from pydicom.pixels.processing import apply_color_lut  # noqa: E402
from pydicom.pixels.utils import pixel_array  # noqa: E402
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless  # noqa: E402

NAME = "Mustermann^Erika"
CT = np.arange(-1000, 3096, dtype=np.int16).reshape(64, 64)


def list_files(most: int = 200_000) -> list[Path]:
    """List pydicom's own test files of so many bytes at most, those of the package beside it included."""
    import data_store

    folders = Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data"
    return sorted(each for folder in folders for each in folder.rglob("*.dcm") if each.stat().st_size <= most)


def dicom(values: np.ndarray, packing: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """Write a DICOM file of stored values, with a patient."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = packing
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID, made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.4", "1.2.5"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = NAME, "4711-0815", "19700101", "F"
    made.AccessionNumber = made.StudyID = made.StudyDate = made.StudyTime = ""
    made.Rows, made.Columns = values.shape[-2:] if values.shape[-1] != 3 else values.shape[-3:-1]
    made.SamplesPerPixel = 3 if values.shape[-1] == 3 else 1
    made.PhotometricInterpretation = "RGB" if made.SamplesPerPixel == 3 else "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = values.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(values.dtype.kind == "i")
    if made.SamplesPerPixel == 3:
        made.PlanarConfiguration = 0
    made.PixelData = values.tobytes()
    for key, value in elements.items():
        setattr(made, key, value)
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("most", [200_000, pytest.param(10**9, marks=pytest.mark.slow)])
def test_what_pydicom_decodes_is_read_and_the_rest_is_one_sentence(most: int) -> None:
    """Its own test files: plain, big-endian, deflated, RLE, JPEG of five kinds, JPEG-LS, JPEG 2000; whole and damaged."""
    packings: set[str] = set()
    for path in list_files(most):
        try:
            theirs = pydicom.dcmread(path, force=True)
            pixel_array(theirs, index=0)
        except Exception:  # noqa: BLE001  # whatever it says of a damaged file
            theirs = None
        with contextlib.nullcontext() if theirs is not None else contextlib.suppress(PictureError):
            picture = read(path, page=1)
            assert theirs is None or picture.size == (theirs.Rows, theirs.Columns)
            packings |= {theirs.file_meta.TransferSyntaxUID} if theirs is not None else set()
    assert len(packings) >= 12


def test_a_window_is_black_and_white() -> None:
    """The linear one of PS3.3 C.11.2.1.2, in Hounsfield units; the plain range without one; what is said goes first."""
    stored, rescale = (CT + 1000).astype(np.uint16), {"RescaleSlope": 1, "RescaleIntercept": -1000}
    picture = read(dicom(stored, WindowCenter=40, WindowWidth=400, **rescale))
    assert picture.seen == "int16, as the file states: black -160, white 239"
    assert np.array_equal(picture.exact[0], np.clip((CT + np.float32(160)) / np.float32(399), 0, 1))
    assert read(dicom(stored, **rescale)).seen == "12 bits, signed: black -1000, white 3095"
    assert (
        read(dicom(stored, BitsStored=12, HighBit=11, **rescale)).seen
        == "int16, as the file states: black -1000, white 3095"
    )
    assert (
        read(dicom(stored, WindowCenter=40, WindowWidth=400, **rescale), black=0, white=80).seen
        == "int16: black 0, white 80"
    )
    halves = read(dicom(stored, RescaleSlope="0.5", RescaleIntercept="0.25"))
    assert halves.seen == "floats: black 0.25, white 2047.75"


def test_other_functions_of_the_window() -> None:
    """Exactly linear, a sigmoid, and a table."""
    given = {"WindowCenter": [100, 7], "WindowWidth": [200, 7]}
    assert read(dicom(CT, VOILUTFunction="LINEAR_EXACT", **given)).seen == "int16, as the file states: black 0, white 200"
    curve = read(dicom(CT, VOILUTFunction="SIGMOID", **given)).exact[0].numpy()
    assert np.allclose(curve, 1 / (1 + np.exp(-4 * (CT - 100.0) / 200)))
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 8], np.arange(255, -1, -1, dtype=np.uint16).tobytes()
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    assert np.array_equal(np.asarray(read(dicom(values, VOILUTSequence=[table])).pixels)[:, :, 0], 255 - values)


def test_white_may_be_the_least_value() -> None:
    """MONOCHROME1 is turned, with a window or without."""
    for more in ({}, {"WindowCenter": 50, "WindowWidth": 100}):
        plain, turned = (read(dicom(CT, PhotometricInterpretation=f"MONOCHROME{number}", **more)).exact for number in (2, 1))
        assert (turned[0, 0, 0], turned[0, -1, -1]) == (1, 0)
        assert not more or np.allclose(turned, 1 - plain)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_colours_are_those_that_pydicom_gives() -> None:
    """Palettes, YBR and RGB, of 8 and of 16 bits."""
    for path in list_files():
        if not path.name.startswith(("SC_rgb", "SC_ybr", "examples_palette", "color", "OT-PAL")) or "2frame" in path.name:
            continue
        file = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in file.file_meta:
            continue
        theirs = pixel_array(file, index=0)
        if file.PhotometricInterpretation == "PALETTE COLOR":
            theirs = apply_color_lut(theirs, file)
        ours = read(path, page=1).pixels
        assert np.abs(np.asarray(ours) - theirs.astype(np.float64) * 255 / np.iinfo(theirs.dtype).max).max() <= 0.5, (
            path.name
        )


def test_one_frame_of_several() -> None:
    """With page=, at that frame's own depth."""
    frames = np.stack([CT, CT[::-1]])
    file = dicom(frames, NumberOfFrames=2)
    with pytest.raises(PictureError, match="expected a still picture in bytes, got 2 frames: choose one with page="):
        read(file)
    assert read(file, page=2).seen.endswith("frame 2 of 2")
    assert np.array_equal(read(file, page=2).exact, read(CT[::-1].copy()).exact)
    with pytest.raises(PictureError, match="expected a page from 1 to 2 in bytes, got 3"):
        read(file, page=3)


def test_what_the_scanner_filled_in_is_no_black() -> None:
    """Padding is left out of the range and shown black."""
    padded = CT.copy()
    padded[:32] = -32768
    picture = read(dicom(padded, PixelPaddingValue=-32768))
    assert picture.seen == "12 bits: black 0, white 4095; 50 % without data, shown black"
    assert picture.exact[0, :32].max() == 0


def test_dicom_is_recognised_by_its_content(tmp_path: Path) -> None:
    """Whatever its file is called; and the folder that it lies in, often named after somebody, is not the picture's name."""
    file = tmp_path / NAME / "scan"
    file.parent.mkdir()
    file.write_bytes(dicom(CT))
    picture = read(file)
    assert (picture.name, picture.size, picture.file) == ("scan", (64, 64), None)
    assert NAME.encode() not in picture.encoded


def test_what_is_no_picture_or_not_whole_is_one_sentence_that_quotes_nothing() -> None:
    """Cut anywhere; a message of pydicom's would quote what it stumbled over."""
    whole = dicom(CT)
    for end in (132, 140, 200, 300, 500, len(whole) - 1):
        with pytest.raises(PictureError, match="expected a (whole DICOM )?picture in bytes, got") as caught:
            read(whole[:end])
        assert "Muster" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(PictureError, match="got DICOM without one, such as a report"):
        read(whole[: whole.index(b"\xe0\x7f\x10\x00")])


def test_a_dicom_that_unfolds_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deflated as a whole, declared too large, or packed larger than it says: before memory is taken."""
    from salience import limits

    with pytest.raises(PictureError, match="expected at most .* pixels in bytes, got more"):
        read(dicom(CT, Rows=65535, Columns=65535))
    file = io.BytesIO()
    pil.new("L", (3000, 3000)).save(file, "JPEG2000")
    packed = pydicom.encaps.encapsulate([file.getvalue()[file.getvalue().index(b"\xff\x4f\xff\x51") :]])
    bomb = dicom(CT, JPEG2000Lossless, PixelData=packed)
    tracemalloc.start()
    with pytest.raises(PictureError, match="expected 64×64 pixels in bytes, got another size"):
        read(bomb)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    monkeypatch.setattr(limits, "PICTURE", 10**5)
    with pytest.raises(PictureError, match="got more"):
        read(dicom(np.zeros((999, 999), np.uint16), DeflatedExplicitVRLittleEndian))


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence."""
    import sys

    encoded = dicom(CT)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(PictureError, match=r"expected the package pydicom .* got none: pip install 'salience\[medical\]'"):
        read(encoded)


def test_a_packing_that_nothing_reads_is_named() -> None:
    """As MPEG."""
    with pytest.raises(PictureError, match="expected to unpack bytes, got DICOM packed as MPEG2 .*: pip install"):
        read(dicom(CT, "1.2.840.10008.1.2.4.100", PixelData=pydicom.encaps.encapsulate([zlib.compress(bytes(99))])))
