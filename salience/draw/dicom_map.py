"""A map as DICOM: a parametric map and a secondary capture, which refer to the picture that was explained.

The person's name, number and dates are left out, unless they are asked for.
"""

from __future__ import annotations

import io
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from salience import limits
from salience.draw import overlay
from salience.errors import PictureError, RecordError
from salience.explanation import Explanation
from salience.files import write_whole
from salience.picture import dicom

PLACE = ("FrameOfReferenceUID", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")
KEEP = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns")
PERSON = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "AccessionNumber": "accession_number",
    "StudyID": "study_id",
    "StudyDate": "study_date",
    "StudyTime": "study_time",
}
MAKER: dict[str, Any] = {"manufacturer": "salience", "manufacturer_model_name": "salience", "device_serial_number": "0"}


def write_map(
    why: Explanation, picture: str | Path, base: Path, *, page: int | None = None, patient: bool = False
) -> list[Path]:
    """Write BASE.map.dcm, the raw values at the picture's size, and BASE.page.dcm, the drawn page; `patient` says whose.

    Outside what the box saw the map is 0. `page` is the frame that was explained. A picture without a place in the patient
    gets one of its own, of a millimetre a pixel, since a parametric map must have one.

    >>> import pydicom.data, tempfile, salience
    >>> ct = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    >>> why = salience.explain("toy:colour", ct, "occlusion", window=64, stride=64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [each.name for each in write_map(why, ct, Path(folder, "ct"))]
    ['ct.map.dcm', 'ct.page.dcm']
    """
    try:
        import highdicom  # noqa: F401  # whether it is there
    except ImportError:
        raise RecordError(
            "expected the package highdicom for a map as DICOM, got none: pip install 'salience[medical]'"
        ) from None
    source, real = _open_reference(Path(picture), patient=patient)
    paths = [base.with_name(f"{base.name}.{what}.dcm") for what in ("map", "page")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        made = [_make_map(why, source), _make_page(why, source)]
    for path, each in zip(paths, made, strict=True):
        _refer(each, source, real, page)
        file = io.BytesIO()
        each.save_as(file, enforce_file_format=True)
        write_whole(path, file.getvalue())
    return paths


def _open_reference(picture: Path, *, patient: bool) -> tuple[Any, str]:
    """Copy what a reference needs from the picture's file, as of one frame, and what places it; and its real kind."""
    from highdicom import UID
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage

    study = [*PERSON, "ReferringPhysicianName", "SpecificCharacterSet"] if patient else []
    wanted = [*KEEP, *PLACE, "SliceThickness", *study]
    file = dicom.open_elements(limits.read_bytes(picture), wanted, pixels=False)
    if any(each not in file for each in KEEP[:4]):
        raise PictureError(f"expected DICOM with UIDs in {picture.name}, got none: a map cannot refer to it")
    real = str(file.SOPClassUID)
    source = Dataset()
    source.file_meta = file.file_meta
    for keyword in PERSON:
        setattr(source, keyword, "")
    source.update({element.tag: element for element in file})
    if any(not file.get(each) for each in PLACE):
        source.FrameOfReferenceUID, source.PixelSpacing = UID(), [1, 1]
        source.ImageOrientationPatient, source.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
        source.SliceThickness = 1
    source.SOPClassUID = CTImageStorage  # of several frames, or none that highdicom knows, would be asked for more
    return source, real


def _refer(made: Any, source: Any, real: str, page: int | None) -> None:
    """Name the picture's real kind, and the frame, wherever it is referred to."""

    def amend(item: Any, element: Any) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value == source.SOPInstanceUID:
            item.ReferencedSOPClassUID = real
            if page is not None:
                item.ReferencedFrameNumber = page

    made.walk(amend)


def _name_series(number: int) -> dict[str, Any]:
    from highdicom import UID

    return {"series_instance_uid": UID(), "sop_instance_uid": UID(), "series_number": number, "instance_number": 1}


def _make_map(why: Explanation, source: Any) -> Any:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes

    values = np.nan_to_num(why.at_photograph.numpy()).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    mapping = RealWorldValueMapping("saliency", why.called[:64], codes.UCUM.NoUnits, (low, high), slope=1.0, intercept=0.0)
    return ParametricMap(
        source_images=[source],
        pixel_array=values,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation((low + high) / 2, max(high - low, 1e-6))],
        software_versions=version("salience"),
        content_label="SALIENCY",
        content_description=f"{why.called}"[:64],
        **_name_series(901),
        **MAKER,
    )


def _make_page(why: Explanation, source: Any) -> Any:
    from highdicom.sc import SCImage
    from pydicom import Dataset

    person: dict[str, Any] = {spelt: source.get(each) or None for each, spelt in PERSON.items()}
    page = SCImage(
        np.asarray(overlay.picture(why).convert("RGB")),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.StudyInstanceUID,
        patient_orientation=("L", "P"),
        **person,
        manufacturer="salience",
        **_name_series(902),
    )
    referred = Dataset()
    referred.ReferencedSOPClassUID, referred.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    page.SourceImageSequence = [referred]
    page.BurnedInAnnotation = "YES"  # names of classes and methods
    return page
