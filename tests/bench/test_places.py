"""Names of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from salience.bench import evidence, places
from salience.bench import grid as grids
from tests.bench import tiny


def test_names_of_files_hold_no_sign_that_a_disk_refuses() -> None:
    """And two labels never share one."""
    slugs = [places.make_slug(each) for each in ("a/b", "a:b", "a b", "a-b", "µ = 0.3", "x" * 300)]
    assert len(set(slugs)) == len(slugs)
    assert all(len(each) < 100 and not set(each) & set('/\\:*?"<>| ') for each in slugs)


def test_names_that_shared_24_bits_share_no_file() -> None:
    """Two of 20,000 names in Chinese did, and one picture's evidence replaced the other's."""
    texts = ["".join(chr(0x4E00 + int(digit)) for digit in f"{number:05}") for number in range(20_000)]
    assert len({places.make_slug(each) for each in texts}) == len(texts)


def test_plain_names_are_those_of_earlier_versions() -> None:
    """A run that began before goes on."""
    assert places.name_cell("rise", "lite0", "photos.2", "0") == "rise--lite0--photos.2--0"
    assert places.name_picture("ILSVRC2012_val.JPEG", set()) == "ILSVRC2012_val.JPEG"


def test_pictures_share_no_name_where_case_does_not_count_and_none_is_a_device() -> None:
    """On the disks of Windows and macOS A.png is a.png, and on Windows con.png is the terminal."""
    taken: set[str] = set()
    names = [places.name_picture(each, taken) for each in ("A.png", "a.png", "con", "NUL.jpg", "a/b", "A/b")]
    assert len({each.casefold() for each in names}) == len(names)
    assert not {each.partition(".")[0].casefold() for each in names} & places.DEVICES


def test_a_cell_of_long_labels_has_a_name_that_a_disk_takes() -> None:
    """Each label has 80 letters of its own, and disks take 255 bytes."""
    names = {places.name_cell("m" * 80, "b" * 80, "d" * 80, f"{2**62 + seed}") for seed in range(3)}
    assert len(names) == 3
    assert all(len(each) + len(".jsonl") < 255 for each in names)


def test_a_run_of_an_earlier_version_goes_on_under_its_names(tmp_path: Path) -> None:
    """Labels that are no plain ASCII had six letters of a hash."""
    raw = tiny.RAW | {"methods": {"наш": {"name": "gradient"}}, "controls": False}
    (cell,) = grids.parse_grid(raw).cells
    new = places.find_journal(tmp_path, cell)
    old = new.with_name(f"-{new.name[1:7]}--colour--scenes--0.jsonl")
    old.parent.mkdir()
    old.touch()
    assert places.find_journal(tmp_path, cell) == old != new


def test_evidence_under_either_name_is_read(tmp_path: Path) -> None:
    """The name of today, the one of a picture whose own was taken, and the one of an earlier version."""
    folder = places.make_folder(tmp_path, "evidence", "rise")
    taken: set[str] = set()
    for number, picture in enumerate(["A", "a", "b c"]):
        np.savez(folder / f"{places.name_picture(picture, taken)}.npz", map=np.eye(2, dtype=np.uint8), range=[0.0, number])
    old = next(folder.glob("b-c-*"))
    old.rename(folder / f"{old.stem[:10]}.npz")
    spans = [evidence.read_map(tmp_path, "rise", each).span[1] for each in ("A", "a", "b c")]  # type: ignore[union-attr]  # they are there
    assert json.dumps(spans) == "[0.0, 1.0, 2.0]"
