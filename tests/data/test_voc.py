"""PASCAL VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from salience import specs
from salience.errors import DataError
from tests.data.tiny import ANNOTATION, OBJECT, png, write

BOXES = {"dog": [(2, 3, 5, 6), (1, 1, 12, 8)], "cat": [(4, 4, 4, 4)]}


def year(root: Path, name: str = "VOC2012") -> Path:
    """Write two pictures: one with two dogs, the second difficult, and a difficult cat; one with a cat."""
    dogs = [OBJECT.format(name="dog", hard=hard, box=box) for hard, box in enumerate(BOXES["dog"])]
    cats = [OBJECT.format(name="cat", hard=hard, box=BOXES["cat"][0]) for hard in (0, 1)]
    for stem, objects in (("2007_10", dogs[0] + cats[1] + dogs[1]), ("2007_9", cats[0])):
        write(root / name / "Annotations" / f"{stem}.xml", ANNOTATION.format(file=f"{stem}.png", objects=objects))
        write(root / name / "JPEGImages" / f"{stem}.png", png())
    write(root / name / "ImageSets" / "Main" / "val.txt", "2007_10  1\n\n")
    return root / name


def found(spec: str) -> list[str]:
    """List the ids."""
    return [each.id for each in specs.open_data(spec).samples]


def test_a_sample_is_a_class_in_a_picture(tmp_path: Path) -> None:
    """Corners count from 1, the last pixel included; a difficult object belongs to the truth of its class."""
    samples = specs.open_data(f"voc:{year(tmp_path)}").samples
    assert [each.id for each in samples] == ["2007_9.png:cat", "2007_10.png:dog"]
    assert samples[0].boxes == ((3, 3, 4, 4),)
    assert samples[1].boxes == ((1, 2, 5, 6), (0, 0, 12, 8))
    assert samples[1].labels == ("dog",)


def test_a_class_that_is_only_difficult_is_optional(tmp_path: Path) -> None:
    """The pointing game leaves such pairs out."""
    assert found(f"voc:{year(tmp_path)}?difficult=yes") == ["2007_9.png:cat", "2007_10.png:dog", "2007_10.png:cat"]


def test_a_split_and_a_year_are_found(tmp_path: Path) -> None:
    """One year needs no name; of two, one is chosen, also below VOCdevkit."""
    year(tmp_path / "VOCdevkit")
    assert found(f"voc:{tmp_path}?split=val") == ["2007_10.png:dog"]
    year(tmp_path / "VOCdevkit", "VOC2007")
    assert len(found(f"voc:{tmp_path / 'VOCdevkit'}?year=2007")) == 2
    with pytest.raises(DataError, match="expected one of the years in .*, got None: give year=2007, year=2012"):
        specs.open_data(f"voc:{tmp_path}")


def test_masks_are_the_objects_by_number(tmp_path: Path) -> None:
    """The second object is the cat; the border between objects, 255, is nobody's."""
    root = year(tmp_path)
    drawing = np.zeros((8, 12), dtype=np.uint8)
    drawing[0], drawing[1], drawing[2], drawing[3] = 1, 2, 3, 255
    picture = pil.fromarray(drawing).convert("P")
    picture.putpalette(list(range(255, -1, -1)) * 3)
    (root / "SegmentationObject").mkdir()
    picture.save(root / "SegmentationObject" / "2007_10.png")
    samples = specs.open_data(f"voc:{root}?masks=yes&difficult=yes").samples
    assert [each.id for each in samples] == ["2007_10.png:dog", "2007_10.png:cat"]
    assert np.array_equal(samples[0].mask > 0, (drawing == 1) | (drawing == 3))
    assert np.array_equal(samples[1].mask > 0, drawing == 2)


def test_a_mask_that_is_no_palette_is_said(tmp_path: Path) -> None:
    """Colours have lost the numbers."""
    root = year(tmp_path)
    drawing = root / "SegmentationObject" / "2007_9.png"
    drawing.parent.mkdir()
    pil.fromarray(np.ones((8, 12), dtype=np.uint8)).save(drawing)
    found = specs.open_data(f"voc:{root}?masks=yes")
    assert found[0].mask.min() == 255
    write(drawing, png())
    with pytest.raises(DataError, match="expected a palette of objects in .*2007_9.png, got a picture in RGB"):
        found[0]


def test_labels_translate_classes_and_leave_out_the_unknown(tmp_path: Path) -> None:
    """As for COCO."""
    labels = write(tmp_path / "labels.json", '{"dog": [151, "hound"]}')
    (sample,) = specs.open_data(f"voc:{year(tmp_path)}?labels={labels}").samples
    assert sample.labels == (151, "hound")


def test_wrong_folders_are_said(tmp_path: Path) -> None:
    """No annotations, no list, no such year, broken XML, no picture, no object."""
    root = year(tmp_path)
    for spec, said in (
        (f"voc:{root / 'JPEGImages'}", "expected Annotations and JPEGImages in .*, or VOC2012 and the like, got neither"),
        (f"voc:{root}?split=vol", "expected the list of the split at .*vol.txt, got nothing there: did you mean val.txt?"),
        (f"voc:{tmp_path}?year=2008", "expected one of the years in .*, got 2008: give year=2012"),
        (f"voc:{root}?masks=yes", "expected objects in .*, got none with these options"),
    ):
        with pytest.raises(DataError, match=said):
            specs.open_data(spec)
    (root / "JPEGImages" / "2007_9.png").unlink()
    with pytest.raises(DataError, match="expected the pictures of the index, got no .*2007_9.png"):
        specs.open_data(f"voc:{root}")


@pytest.mark.parametrize("text", ["<annotation>", "<annotation><object><name>dog</name></object></annotation>"])
def test_a_broken_annotation_is_said(tmp_path: Path, text: str) -> None:
    """Cut short, or without corners."""
    write(year(tmp_path) / "Annotations" / "2007_9.xml", text)
    with pytest.raises(DataError, match="expected a PASCAL VOC annotation in .*2007_9.xml, got something else"):
        specs.open_data(f"voc:{tmp_path}")
