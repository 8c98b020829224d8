"""One contract for every kind of data in the register, on a tiny data set of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salience import registry, specs
from salience.errors import DataError, PictureError, UnknownName
from salience.picture import read
from tests.data.tiny import COLOURS, KINDS

every = pytest.mark.parametrize("kind", registry.list_names("data"))


@every
def test_a_sample_has_an_id_a_label_and_a_picture(kind: str, tmp_path: Path) -> None:
    """Ids are unique, and the picture under an id is the one of its label."""
    found = specs.open_data(KINDS[kind](tmp_path))
    assert len(found) == len({each.id for each in found.samples}) == 2
    for sample in found.samples:
        if kind != "shapes":
            (label,) = sample.labels
            assert tuple(np.asarray(read(sample.picture).pixels)[0, 0]) == COLOURS[label]


@every
def test_the_name_opens_the_same_data_again(kind: str, tmp_path: Path) -> None:
    """Rows of a bench say where their pictures are from."""
    first = specs.open_data(KINDS[kind](tmp_path))
    again = specs.open_data(first.name)
    assert again.name == first.name
    for one, other in zip(first.samples, again.samples, strict=True):
        assert (one.id, one.labels, one.boxes) == (other.id, other.labels, other.boxes)
        assert read(one.picture).encoded == read(other.picture).encoded


@every
def test_opening_reads_no_picture(kind: str, tmp_path: Path) -> None:
    """Pictures that are none are found out when they are read, not before."""
    if kind == "shapes":
        return  # drawn when asked for
    found = specs.open_data(KINDS[kind](tmp_path, lambda name: b"no picture"))
    assert found[0].labels == found[0].labels != ()
    with pytest.raises(PictureError, match="got text"):
        read(found[0].picture)


@every
def test_samples_are_a_sequence(kind: str, tmp_path: Path) -> None:
    """They count from either end, come in slices, and end."""
    samples = specs.open_data(KINDS[kind](tmp_path)).samples
    assert samples[-1].id == samples[1].id == samples[1:][0].id
    with pytest.raises(IndexError):
        samples[2]


@every
def test_an_option_that_is_none_is_named(kind: str, tmp_path: Path) -> None:
    """With the options that come close."""
    spec = KINDS[kind](tmp_path)
    with pytest.raises(UnknownName, match=f"expected the name of a setting of {kind}:, got 'colum'"):
        specs.open_data(spec, colum=1)


@every
def test_what_is_not_there_is_said(kind: str, tmp_path: Path) -> None:
    """In one sentence, with the path."""
    with pytest.raises((DataError, UnknownName), match="expected .*nowhere"):
        specs.open_data(f"{kind}:{tmp_path}/nowhere")
