"""WebDataset's tars, as the real package writes them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import webdataset as wds

from salience import specs
from salience.data.webdataset import expand_braces
from salience.errors import DataError
from salience.picture import read
from tests.data.tiny import png


def written(path: Path, *rows: dict[str, Any]) -> Path:
    """Write a tar as the package does."""
    with wds.TarWriter(str(path)) as opened:
        for number, row in enumerate(rows):
            opened.write({"__key__": f"s{number}", **row})
    return path


def test_shards_of_the_real_package_are_read_in_order(tmp_path: Path) -> None:
    """The same keys, labels and pictures as the package itself reads."""
    with wds.ShardWriter(f"{tmp_path}/part-%03d.tar", maxcount=2, verbose=0) as opened:
        for number in range(5):
            opened.write({"__key__": f"deep/s{number}", "png": png("dog", 5 + number), "cls": number, "note.txt": "x"})
    found = specs.open_data(f"webdataset:{tmp_path}/part-{{000..002}}.tar").samples
    known = []
    for shard in sorted(tmp_path.glob("*.tar")):
        with shard.open("rb") as read_back:
            files = wds.tariterators.tar_file_expander([{"url": str(shard), "stream": read_back}])
            known += list(wds.tariterators.group_by_keys(files))
    assert [each.id.partition("/")[2] for each in found] == [each["__key__"] for each in known]
    assert [each.labels for each in found] == [(int(each["cls"]),) for each in known]
    assert [each.picture for each in found] == [each["png"] for each in known]
    assert found[4].id == "part-002/deep/s4"
    assert read(found[4].picture).size == (8, 9)


@pytest.mark.parametrize(
    ("row", "options", "known"),
    [
        ({"cls": 3, "txt": "dog"}, "", (3,)),
        ({"txt": "dog; hound"}, "", ("dog", "hound")),
        ({"cls": 3, "txt": "dog"}, "?label=txt", ("dog",)),
        ({"json": {"class_name": "dog", "id": 5}}, "", ("dog",)),
        ({"json": {"kind": [1, 2]}}, "?field=kind", (1, 2)),
        ({"json": {"label": 4}, "cls": 3}, "?label=json", (4,)),
        ({}, "", ()),
    ],
)
def test_labels_are_numbers_names_or_a_field(tmp_path: Path, row: dict[str, Any], options: str, known: Any) -> None:
    """By ending, and by name where the ending is JSON."""
    path = written(tmp_path / "one.tar", {"png": png(), **row})
    assert specs.open_data(f"webdataset:{path}{options}")[0].labels == known


def test_a_mask_and_a_choice_of_pictures(tmp_path: Path) -> None:
    """`mask.png` is the object's place; a key without a picture is no sample."""
    mask = png("tench", 3, 2)
    path = written(tmp_path / "one.tar", {"mask.png": mask, "left.png": png("dog"), "png": png()}, {"txt": "alone"})
    (sample,) = specs.open_data(f"webdataset:{path}").samples
    assert (sample.picture, sample.mask) == (png(), mask)
    (sample,) = specs.open_data(f"webdataset:{path}?image=left.png&mask=none").samples
    assert (sample.picture, sample.mask) == (png("dog"), None)


def test_shards_of_one_name_in_two_folders_keep_their_ids_apart(tmp_path: Path) -> None:
    """A sample's id says the folder then."""
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "0.tar", {"png": png()})
    found = specs.open_data(f"webdataset:{tmp_path}/{{train,val}}/0.tar").samples
    assert [each.id for each in found] == ["train/0/s0", "val/0/s0"]


def test_a_tar_that_is_not_sorted_is_said(tmp_path: Path) -> None:
    """A picture would miss its label."""
    with tarfile.open(tmp_path / "one.tar", "w") as opened:
        for name in ("a.png", "b.png", "a.cls", "b.cls"):
            opened.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(DataError, match="expected the files of a sample one after another in .*one.tar, got them scattered"):
        specs.open_data(f"webdataset:{tmp_path}/one.tar")


def test_braces_stand_for_several_names() -> None:
    """Numbers keep their width; words and more than one brace do as well."""
    assert expand_braces("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_braces("{x,y}-{0..1}") == ["x-0", "x-1", "y-0", "y-1"]
    assert expand_braces("plain{}.tar") == ["plain{}.tar"]


def test_a_tar_cut_anywhere_is_found_out(tmp_path: Path) -> None:
    """Within a file, within a head, or between two, where nothing looks wrong."""
    whole = written(tmp_path / "one.tar", {"png": png(), "cls": 1}, {"png": png(), "cls": 2}).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        last = opened.getmembers()[-1]
    for cut in (*range(100, last.offset_data, 300), last.offset, last.offset_data, last.offset_data + 512):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        with pytest.raises(DataError, match="(expected an end mark in|expected a whole, uncompressed tar in) .*cut.tar"):
            specs.open_data(f"webdataset:{tmp_path}/cut.tar")
    (tmp_path / "cut.tar").write_bytes(whole[: last.offset_data + 1024])
    assert len(specs.open_data(f"webdataset:{tmp_path}/cut.tar")) == 2


def test_wrong_shards_are_said(tmp_path: Path) -> None:
    """What is there is named."""
    path = written(tmp_path / "one.tar", {"png": png(), "json": {"id": 1}})
    for spec, said in (
        (f"{tmp_path}/one-{{0..1}}.tar", "expected a tar at .*one-0.tar, got nothing there: did you mean one.tar?"),
        (f"{path}?image=jpg", "expected pictures in .*, got files that end in json, png: give image=ENDING"),
        (f"{path}?label=cls", "expected files that end in cls in .*, got json, png: change label=ENDING"),
        (f"{path}?mask=seg.png", "expected files that end in seg.png in .*, got json, png: change mask=ENDING"),
        (f"{tmp_path}/{{1..0}}.tar", "expected pictures in .*, got files that end in nothing"),
    ):
        with pytest.raises(DataError, match=said):
            specs.open_data(f"webdataset:{spec}")


def test_json_without_a_label_is_said(tmp_path: Path) -> None:
    """With the key, so that it can be mended; found out when the sample is wanted."""
    path = written(tmp_path / "one.tar", {"png": png(), "json": b'{"label": 1}'})
    found = specs.open_data(f"webdataset:{path}")
    assert found[0].labels == (1,)
    for text, said in (
        (b'{"labal": 1}', "expected a label in s0.json of .*one.tar, got labal: give field=NAME"),
        (b'{"label": 1!', "expected JSON in s0.json of .*one.tar, got something else"),
    ):
        written(path, {"png": png(), "json": text})
        with pytest.raises(DataError, match=said):
            found[0]
