"""Hugging Face's data sets, as the real package saves them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from salience import specs
from salience.errors import DataError, SettingError, UnknownName
from salience.picture import read
from tests.data.tiny import COLOURS, png

NAMES = datasets.ClassLabel(names=["tench", "dog"])


def saved(root: Path, label: Any, values: list[Any], image: str = "image", column: str = "label") -> Any:
    """Make a data set of two pictures."""
    features = datasets.Features({image: datasets.Image(), column: label})
    rows = {image: [{"bytes": png(name), "path": None} for name in COLOURS], column: values}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.save_to_disk(root / "one")
    return made


@pytest.mark.parametrize(
    ("label", "values", "known"),
    [
        (NAMES, [0, -1], [("tench",), ()]),  # -1: withheld
        (datasets.List(NAMES), [[1, 0], []], [("dog", "tench"), ()]),
        (datasets.Value("int64"), [3, 4], [(3,), (4,)]),
        (datasets.Value("string"), ["crane", "a cat"], [("crane",), ("a cat",)]),
    ],
)
def test_labels_are_names_where_the_data_have_them(tmp_path: Path, label: Any, values: list[Any], known: list[Any]) -> None:
    """And indices of classes where not."""
    saved(tmp_path, label, values)
    found = specs.open_data(f"hf:{tmp_path / 'one'}")
    assert [each.labels for each in found.samples] == known
    assert [each.id for each in found.samples] == ["0", "1"]


def test_a_picture_is_the_one_that_was_saved(tmp_path: Path) -> None:
    """Byte for byte, under any name of the column."""
    saved(tmp_path, NAMES, [0, 1], image="photo", column="kind")
    found = specs.open_data(f"hf:{tmp_path / 'one'}?image=photo&label=kind")
    assert [read(each.picture).encoded for each in found.samples] == [png("tench"), png("dog")]
    assert found[1].labels == ("dog",)
    assert specs.open_data(f"hf:{tmp_path / 'one'}?image=photo")[1].labels == ()


def test_a_path_of_a_picture_is_a_picture(tmp_path: Path) -> None:
    """Columns of text do as well."""
    (tmp_path / "a.png").write_bytes(png())
    datasets.Dataset.from_dict({"img": [str(tmp_path / "a.png")]}).save_to_disk(tmp_path / "paths")
    (sample,) = specs.open_data(f"hf:{tmp_path / 'paths'}").samples
    assert np.asarray(read(sample.picture).pixels).shape == (8, 12, 3)


def test_a_split_is_chosen(tmp_path: Path) -> None:
    """A single one needs no name; of several, one is asked for."""
    one = saved(tmp_path, NAMES, [0, 1])
    datasets.DatasetDict({"test": one}).save_to_disk(tmp_path / "single")
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(tmp_path / "both")
    assert len(specs.open_data(f"hf:{tmp_path / 'single'}")) == 2
    assert specs.open_data(f"hf:{tmp_path / 'both'}?split=test")[0].labels == ("dog",)
    with pytest.raises(SettingError, match="expected one of the splits of .*, got none: give split=train or split=test"):
        specs.open_data(f"hf:{tmp_path / 'both'}")
    with pytest.raises(UnknownName, match="got 'tset': did you mean test"):
        specs.open_data(f"hf:{tmp_path / 'both'}?split=tset")


def test_wrong_columns_and_names_are_said(tmp_path: Path) -> None:
    """With what there is; the hub's own reason where it has one."""
    saved(tmp_path, NAMES, [0, 1], image="photo")
    for spec, error, said in (
        (f"hf:{tmp_path / 'one'}", DataError, "expected a column of pictures in .*, got photo, label: give image=COLUMN"),
        (f"hf:{tmp_path / 'one'}?image=foto", UnknownName, "for image, got 'foto': did you mean photo"),
        (f"hf:{tmp_path / 'one'}?image=photo&label=lable", UnknownName, "for label, got 'lable': did you mean label"),
        (f"hf:{tmp_path / 'one'}?split=train", SettingError, "expected no split for .*, got 'train'"),
        (f"hf:{tmp_path / 'nowhere'}", DataError, "expected to load hf:.*: check the name, or give a saved folder"),
    ):
        with pytest.raises(error, match=said):
            specs.open_data(spec)


def test_without_the_package_a_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not among the dependencies."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="expected the package datasets for hf: data, got none: install salience.datasets."):
        specs.open_data("hf:some/name")
