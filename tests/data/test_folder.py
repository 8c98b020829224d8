"""Pictures in folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from salience import specs
from salience.errors import DataError, UnknownName
from tests.data.tiny import png, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make two classes with three pictures, and what is no picture beside them."""
    for file in ("n02/10.png", "n02/9.PNG", "n01/deep/1.jpg", ".git/1.png", "n01/.1.png", "n01/notes.txt"):
        write(tmp_path / "set" / file, png())
    return tmp_path / "set"


def test_the_first_folder_is_the_label_and_numbers_count(root: Path) -> None:
    """9 comes before 10; hidden files and other files are not there."""
    found = [(each.id, each.labels) for each in specs.open_data(f"folder:{root}").samples]
    assert found == [("n01/deep/1.jpg", ("n01",)), ("n02/9.PNG", ("n02",)), ("n02/10.png", ("n02",))]


def test_a_flat_folder_has_no_labels(root: Path) -> None:
    """Neither has a picture that lies beside the folders of classes."""
    flat = specs.open_data(f"folder:{root / 'n02'}")
    assert [each.labels for each in flat.samples] == [(), ()]
    write(root / "0.png", png())
    assert [each.labels for each in specs.open_data(f"folder:{root}").samples] == [(), ("n01",), ("n02",), ("n02",)]


@pytest.mark.parametrize(
    ("file", "text", "known"),
    [
        ("names.json", json.dumps({"n01": "tench", "n02": ["dog", 3]}), {("tench",), ("dog", 3)}),
        ("index.json", json.dumps({"0": ["n01", "tench"], "1": ["n02", "dog"]}), {(0,), (1,)}),
        ("table.csv", "class_index,wnid,name\n0,n01,tench\n1,n02,dog\n", {("tench",), ("dog",)}),
        ("table.csv?column=class_index", "class_index,wnid,name\n0,n01,tench\n1,n02,dog\n", {(0,), (1,)}),
        ("coded.csv", "\ufefffolder,label\nn01,5;7\nn02,dog\n", {(5, 7), ("dog",)}),
    ],
)
def test_a_file_of_labels_translates_the_folders(root: Path, file: str, text: str, known: set[tuple[str | int]]) -> None:
    """By the column that has the folders' names, or as one of the two usual forms of JSON."""
    path = write(root.parent / file.partition("?")[0], text)
    column = "class_index" if "column" in file else None
    assert {each.labels for each in specs.open_data(f"folder:{root}", labels=path, column=column).samples} == known


def test_a_folder_through_a_link_counts(root: Path, tmp_path: Path) -> None:
    """Large data sets are laid out with links."""
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "dog").symlink_to(root / "n02", target_is_directory=True)
    assert [each.id for each in specs.open_data(f"folder:{tmp_path / 'linked'}").samples] == ["dog/9.PNG", "dog/10.png"]


def test_wrong_folders_are_said(root: Path) -> None:
    """A near name, a file, nothing inside, a folder without a label."""
    labels = write(root.parent / "some.json", '{"n01": "tench"}')
    (root.parent / "empty").mkdir()
    for spec, text in (
        (f"folder:{root}s", "expected a folder of pictures at .*sets, got nothing there: did you mean set?"),
        (f"folder:{root / 'n02' / '10.png'}", "expected a folder of pictures at .*10.png, got a file"),
        (f"folder:{root.parent / 'empty'}", "expected pictures under .*empty, got none: they end in .avif"),
    ):
        with pytest.raises(DataError, match=text):
            specs.open_data(spec)
    with pytest.raises(UnknownName, match="expected the name of a folder that .* has a label for, got 'n02'"):
        specs.open_data(f"folder:{root}?labels={labels}")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("broken.json", "{", "expected JSON in .*broken.json, got something else"),
        ("list.json", "[1]", "expected names and their labels in .*list.json, got a list"),
        ("other.json", '{"n77": "cat"}', "to know n01, n02 …, got none of them"),
        ("bare.csv", "wnid,size\nn01,3\n", "expected a column of labels in .*bare.csv, got wnid, size: give column=NAME"),
        ("short.csv", "wnid,label\nn01\n", "expected 2 values in line 2 of .*short.csv, got more or fewer"),
        ("empty.csv", "wnid,label\n", "expected rows .* got none"),
        ("bytes.csv", b"wnid,label\nn01,\xff\n", "expected a table in .*bytes.csv, got something else"),
    ],
)
def test_a_wrong_file_of_labels_is_said(root: Path, file: str, text: str | bytes, said: str) -> None:
    """Broken, of another form, or of other folders."""
    path = write(root.parent / file, text)
    with pytest.raises(DataError, match=said):
        specs.open_data(f"folder:{root}?labels={path}")


def test_real_folders_get_their_names(data: Path) -> None:
    """A thousand pictures of ten classes, by the table of ImageNet."""
    found = specs.open_data(f"folder:{data}/images/imagenette_train?labels={data}/imagenet_classes.csv")
    assert len(found) == 1000
    assert found[0].labels == ("tench",)
    assert len({each.labels for each in found.samples}) == 10
