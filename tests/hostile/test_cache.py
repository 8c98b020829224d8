"""The cache: it deletes nothing that is not its own, and believes nothing that is damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from salience.describe import catalogue
from salience.runtime import backends, cache_folder, disk_cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the cache in a folder of the test."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path))
    return tmp_path


def test_files_of_the_user_survive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the entries and even among them: neither their number nor a film's size counts."""
    monkeypatch.setattr(disk_cache, "FILES", 3)
    inside = folder / "salience-cache-1"
    inside.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text("mine")
        (inside / f"{number}.json").write_text("mine")
    with (folder / "film.mp4").open("wb") as film:
        film.truncate(3 * 2**30)  # no byte of it is written
    for number in range(8):
        disk_cache.write(str(number), b"entry")
    assert len(list(folder.rglob("*.txt"))) == len(list(inside.glob("*.json"))) == 20
    assert (folder / "film.mp4").exists()
    assert len(list(inside.glob("*.entry"))) == 3


def test_entries_are_for_their_user_alone_and_backups_know_them(folder: Path) -> None:
    """Modes 0700 and 0600, also where the folder was there; the tag is that of the convention."""
    (folder / "salience-cache-1").mkdir(mode=0o755)
    disk_cache.write("a", b"1")
    inside = folder / "salience-cache-1"
    assert inside.stat().st_mode & 0o777 == 0o700
    assert [each.stat().st_mode & 0o777 for each in inside.glob("*.entry")] == [0o600]
    assert (inside / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


@pytest.mark.parametrize("damage", [b"", b'["nope", {}]', b"\0" * 400])
def test_a_damaged_entry_is_made_again(damage: bytes, folder: Path) -> None:
    """Empty, cut short or another's: it counts as none, and what is written next is whole."""
    disk_cache.write("a", b"whole")
    (file,) = folder.rglob("*.entry")
    file.write_bytes(damage)
    assert disk_cache.read("a") is None
    disk_cache.write("a", b"whole")
    assert disk_cache.read("a") == b"whole"
    file.rename(file.with_name("0" * 32 + ".entry"))
    assert cache_folder.read_entry(file.with_name("0" * 32 + ".entry")) is None  # under another name


def test_a_link_or_a_pipe_is_no_entry(folder: Path) -> None:
    """A pipe would wait for ever, and a link leads elsewhere."""
    path = cache_folder.find_path("a")
    assert path is not None
    path.parent.mkdir()
    os.mkfifo(path)
    assert disk_cache.read("a") is None
    path.unlink()
    (folder / "elsewhere").write_bytes(b"x" * 40)
    path.symlink_to(folder / "elsewhere")
    assert disk_cache.read("a") is None
    disk_cache.write("a", b"1")
    assert (folder / "elsewhere").read_bytes() == b"x" * 40
    assert disk_cache.read("a") == b"1"


@pytest.mark.parametrize(
    "value",
    [["nope", {}], ["exact", {}], [], None, {"exact": 1}, ["exact", {"tried": {}, "passes a second": 0.0}], 3],
)
def test_a_choice_of_backend_that_cannot_be_is_not_believed(value: Any) -> None:
    """An entry whose hash is right may still say nonsense."""
    disk_cache.write(f"box.{backends.FORM}.json", json.dumps(value).encode())
    found, check = backends.choose_remembered(
        lambda images, _: images.mean((2, 3)), torch.rand(4, 3, 8, 8), "box", ["exact"]
    )
    assert found == "exact"
    assert check["passes a second"] > 0
    assert json.loads(disk_cache.read(f"box.{backends.FORM}.json") or b"")[1] == check


def test_a_damaged_list_is_made_again(folder: Path) -> None:
    """The help does not depend on what lies in a folder."""
    said = catalogue.recall("methods.describe_method", "rise")
    for file in folder.rglob("*.entry"):
        file.write_bytes(b"")
    assert catalogue.recall("methods.describe_method", "rise") == said
