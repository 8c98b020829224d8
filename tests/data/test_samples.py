"""What a bench asks of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import data as benched
from salience import specs
from salience.case import Data, Sample
from salience.engine import target as targets
from salience.errors import DataError, SettingError
from salience.picture import Geometry, Preparation, read
from salience.tasks.truth import make_truth, shuffle, take_samples

CLASSES = ("tench, Tinca tinca", "crane", "crane", "7")
NUMBERED = Data("numbers", tuple(Sample(str(number), None) for number in range(40)))


def ids(data: Data) -> list[int]:
    """List what was drawn."""
    return [int(each.id) for each in data.samples]


def test_a_draw_is_the_same_on_every_machine() -> None:
    """These numbers were drawn once and for all."""
    assert shuffle(8, 0) == [1, 6, 5, 4, 7, 3, 0, 2]
    assert shuffle(3, None) == [0, 1, 2]
    assert ids(take_samples(NUMBERED, 3, seed=1)) != ids(take_samples(NUMBERED, 3, seed=0))


def test_a_draw_keeps_the_order_and_a_larger_one_has_it_all() -> None:
    """So a run with more pictures repeats none of the fewer."""
    small, large = (ids(take_samples(NUMBERED, count)) for count in (5, 20))
    assert small == sorted(small)
    assert len(small) == 5
    assert set(small) < set(large)
    assert ids(take_samples(NUMBERED, 99)) == list(range(40))
    with pytest.raises(SettingError, match="expected at least one sample to draw, got 0"):
        take_samples(NUMBERED, 0)


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        (("Tinca TINCA ",), (0,)),
        (("tench, tinca tinca",), (0,)),
        (("crane",), (1, 2)),  # nobody can tell which
        (("7",), (3,)),  # the name, before the number
        (("2", 0, "tench"), (2, 0)),
        (("unicorn", 4, "9"), ()),
        ((), ()),
    ],
)
def test_labels_name_classes_as_targets_do(labels: tuple[str | int, ...], known: tuple[int, ...]) -> None:
    """A whole name or a synonym in any case, or an index; what the box does not have is left out."""
    assert targets.match_labels(Sample("one", None, labels), CLASSES) == known


def test_every_label_of_the_pictures_names_its_own_class(data: Path) -> None:
    """Names of three tables, read as they are, against the default box's thousand."""
    classes = specs.open_box("default").classes
    for table in ("images/index.csv", "localisation/imagenette_boxes.csv"):
        named = specs.open_data(f"csv:{data / table}")
        counted = specs.open_data(f"csv:{data / table}?labels=class_index")
        for one, other in zip(named.samples, counted.samples, strict=True):
            assert targets.match_labels(one, classes) == targets.match_labels(other, classes) == other.labels


def test_truth_is_what_the_benchmarks_draw(data: Path) -> None:
    """Boxes and masks come out as the figures so far were made with, pixel by pixel."""
    box = specs.open_box("default")
    for source, where in (("imagenette", ""), ("coco", ""), ("neu_det", "?where=box_class_name==class_name")):
        opened = specs.open_data(f"csv:{data}/localisation/{source}_boxes.csv{where}")
        for one, case in list(zip(opened.samples, benched.read_cases(source), strict=True))[::20]:
            image, known = case.prepared(box, fine=True)
            _, geometry = box.preparation(read(one.picture))
            found = make_truth(one, geometry)
            assert found is not None
            assert found.shape == image.shape[1:]
            assert torch.equal(found, known)


def test_a_box_covers_whole_pixels_and_ends_before_its_right_and_bottom() -> None:
    """Corners are cut off; what lies outside the picture is not counted from its other end."""
    geometry = Geometry((6, 8), (6, 8), (0, 6, 0, 8))
    known = torch.zeros(6, 8, dtype=torch.bool)
    known[0:2, 3:5] = known[4:6, 0:1] = True
    sample = Sample("one", None, boxes=((3.9, -2.0, 5.9, 2.5), (-3.0, 4.0, 1.0, 99.0)))
    assert torch.equal(make_truth(sample, geometry), known)


def test_a_mask_wins_over_boxes_and_nothing_is_none() -> None:
    """An object beside the crop leaves an empty region, which is not the same as no truth."""
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[1, 2] = 255
    geometry = Geometry((6, 8), (6, 8), (0, 6, 0, 8))
    found = make_truth(Sample("one", None, boxes=((0, 0, 8, 6),), mask=mask), geometry)
    assert found.nonzero().tolist() == [[1, 2]]
    _, cropped = Preparation((2, 2), resize=(6, 8))(read(np.zeros((6, 8, 3), dtype=np.uint8)))
    assert not make_truth(Sample("one", None, mask=mask), cropped).any()
    assert make_truth(Sample("one", None), geometry) is None


def test_a_mask_that_does_not_fit_is_refused() -> None:
    """Of another size, or of zeros and ones."""
    geometry = Geometry((6, 8), (6, 8), (0, 6, 0, 8))
    with pytest.raises(DataError, match="expected a mask of 6 × 8 pixels for one, got 4 × 4"):
        make_truth(Sample("one", None, mask=np.zeros((4, 4), dtype=np.uint8)), geometry)
    with pytest.raises(DataError, match="expected a mask white on black for one, got values up to 1"):
        make_truth(Sample("one", None, mask=np.ones((6, 8), dtype=np.uint8)), geometry)
