"""The map as the picture's own kind of file: DICOM that refers to it and names nobody, GeoTIFF with its reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import salience
from salience.cli import main
from salience.errors import PictureError, RecordError
from salience.picture import read
from tests.test_dicom import CT, NAME, dicom

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")
rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rasterio's own
SMALL = ["--box", "toy:colour", "--method", "occlusion", "--window", "16", "--stride", "16"]
SECRETS = (b"Mustermann", b"Erika", b"4711-0815", b"19700101")


def explain(path: Path, tmp_path: Path, *more: str) -> list[Path]:
    """Explain by the command line."""
    assert main(["explain", str(path), *SMALL, "--out", str(tmp_path / "out"), *more]) == 0
    return sorted((tmp_path / "out").iterdir())


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Write a slice with a patient, in the patient's own folder."""
    path = tmp_path / NAME / "slice"
    path.parent.mkdir()
    path.write_bytes(dicom(CT, FrameOfReferenceUID="1.2.6", PixelSpacing=[0.5, 0.5], ImagePositionPatient=[1, 2, 3],
                           ImageOrientationPatient=[1, 0, 0, 0, 1, 0], SliceThickness=1))  # fmt: skip
    return path


def test_no_file_names_the_patient(scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Record, page, numbers, both DICOM files, what is printed, and the files' names."""
    files = explain(scan, tmp_path)
    assert [each.name.removeprefix("slice.occlusion.") for each in files] == [
        "json",
        "map.dcm",
        "page.dcm",
        "png",
        "salience",
    ]
    assert len(json.loads(files[0].read_text(encoding="utf-8"))["files"]) == 5
    printed = "".join(capfd.readouterr()).replace(str(tmp_path), "").encode()
    for content in (printed, *(each.read_bytes() + each.name.encode() for each in files)):
        assert [each for each in SECRETS if each in content] == []


def test_the_maps_are_read_by_pydicom_and_highdicom(scan: Path, tmp_path: Path) -> None:
    """To the last bit of the map, in the picture's place, and referring to it."""
    files = explain(scan, tmp_path)
    values = highdicom.imread(files[1])
    why = salience.Explanation.load(files[4])
    assert np.array_equal(values.get_volume().array[0], why.at_photograph.numpy())
    assert np.array_equal(pydicom.dcmread(files[1]).pixel_array, why.at_photograph.numpy())
    assert (values.FrameOfReferenceUID, values.StudyInstanceUID) == ("1.2.6", "1.2.4")
    assert values.get_volume().spacing[1:] == (0.5, 0.5)
    page = highdicom.imread(files[2])
    assert page.pixel_array.shape[2] == 3
    for each in (values.SourceImageSequence[0], page.SourceImageSequence[0]):
        assert (each.ReferencedSOPInstanceUID, each.ReferencedSOPClassUID) == ("1.2.3", pydicom.uid.CTImageStorage)


def test_an_archive_may_be_told_whose_they_are(scan: Path, tmp_path: Path) -> None:
    """With --patient, in the two DICOM files and nowhere else."""
    files = explain(scan, tmp_path, "--patient")
    assert [pydicom.dcmread(each).PatientName for each in files[1:3]] == [NAME] * 2
    assert [each.name for each in files if SECRETS[2] in each.read_bytes()] == [each.name for each in files[1:3]]


def test_a_frame_without_a_place_gets_one(tmp_path: Path) -> None:
    """As of an ultrasound; and the frame is named."""
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom(np.stack([CT, CT]), NumberOfFrames=2, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1"))
    made = pydicom.dcmread(explain(path, tmp_path, "--page", "2")[1])
    (source,) = made.SourceImageSequence
    assert (source.ReferencedFrameNumber, source.ReferencedSOPClassUID) == (2, "1.2.840.10008.5.1.4.1.1.3.1")


def write_scene(path: Path, values: np.ndarray, **more: Any) -> Path:
    """Write a GeoTIFF of 10 m a pixel."""
    place = rasterio.transform.from_origin(500_000, 5_400_000, 10, 10)
    shape = {"height": values.shape[1], "width": values.shape[2], "count": values.shape[0], "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632", transform=place, **shape, **more) as file:
        file.write(values)
    return path


SCENE = np.random.default_rng(0).integers(0, 4000, (3, 80, 96), dtype=np.uint16)


@pytest.mark.parametrize("more", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}])
def test_the_map_of_a_scene_lies_where_the_scene_does(more: dict[str, Any], tmp_path: Path) -> None:
    """Its reference, its size, and no data where the box did not look; of a region, the region's."""
    path = write_scene(tmp_path / "scene.tif", SCENE, **more)
    for words, shape, corner in (
        ((), (80, 96), (500_000, 5_400_000)),
        (("--region", "8,16,48,64"), (48, 64), (500_160, 5_399_920)),
    ):
        files = {each.suffixes[-1]: each for each in explain(path, tmp_path, *words)}
        why = salience.Explanation.load(files[".salience"])
        with rasterio.open(files[".tif"]) as made:
            assert (made.shape, made.crs.to_epsg(), made.transform[2:6:3]) == (shape, 32632, corner)
            assert np.array_equal(made.read(1), why.at_photograph.numpy(), equal_nan=True)
            assert np.isnan(made.nodata)


def test_a_region_is_what_rasterio_reads(tmp_path: Path) -> None:
    """To the last bit, bands in order, without the rest of the file; of any other picture it is cut out."""
    path = write_scene(tmp_path / "scene.tif", SCENE)
    picture = read(path, region="8,16,48,64", bands="3,1,2", white=4095)
    assert np.array_equal(picture.deep.values, SCENE[[2, 0, 1], 8:56, 16:80].transpose(1, 2, 0))
    assert "rows 8 to 55, columns 16 to 79 of 80×96" in picture.seen
    assert np.array_equal(read(path).deep.values, SCENE.transpose(1, 2, 0))
    plain = np.asarray(read(path).pixels)
    assert np.array_equal(np.asarray(read(plain, region=(8, 16, 48, 64)).pixels), plain[8:56, 16:80])
    for wrong in ("0,0,81,5", "0,0,5", "-1,0,5,5", "nan,0,1,1", "0,0,0,5"):
        with pytest.raises(PictureError, match="expected (a region within|row, column, height|a number or several)"):
            read(path, region=wrong)


def test_what_has_no_data_is_left_out_and_said(tmp_path: Path) -> None:
    """As the file states it: it is neither black nor white, and shown black."""
    values = (SCENE.astype(np.float32) + 1) / 10
    values[:, :20] = -9999
    path = write_scene(tmp_path / "scene.tif", values, nodata=-9999)
    for picture in (read(path), read(path, region=(0, 0, 80, 96))):
        assert picture.seen.startswith("floats: black 0.1, white 400")
        assert picture.seen.endswith("25 % without data, shown black")
        assert float(picture.exact[:, :20].max()) == 0


def test_a_region_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own bytes, or those of the blocks that it is packed in."""
    path = write_scene(tmp_path / "scene.tif", SCENE)
    monkeypatch.setattr("salience.limits.PICTURE", 1000)
    with pytest.raises(PictureError, match="expected at most 1,000 bytes at once in .*, got more: take a smaller region"):
        read(path, region=(0, 0, 20, 20))


def test_without_the_packages_the_extra_is_named(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence each."""
    import sys

    from salience.draw import dicom_map

    path, why = write_scene(tmp_path / "scene.tif", SCENE), salience.explain("toy:colour", scan, "gradient")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(PictureError, match=r"expected the package rasterio .* pip install 'salience\[geo\]'"):
        read(path, region=(0, 0, 20, 20))
    with pytest.raises(RecordError, match=r"expected the package highdicom .* pip install 'salience\[medical\]'"):
        dicom_map.write_map(why, scan, tmp_path / "map")
