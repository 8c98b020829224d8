"""Writing files so that a kill or a power cut leaves the whole or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from salience import files


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content, rename, folder: in another order, a power cut could leave an empty file under the name."""
    order: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append(Path(f"/dev/fd/{number}").resolve().name), sync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("replace"), replace(self, to))[1])
    files.write_whole(tmp_path / "note.txt", b"whole")
    assert len(order) == 3
    assert order[0].startswith(".")
    assert order[1:] == ["replace", tmp_path.name]


def test_a_write_that_is_stopped_leaves_no_part(tmp_path: Path) -> None:
    """Ctrl-C in the middle, and what was there before stays."""
    (tmp_path / "note.txt").write_bytes(b"before")

    def stop(file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "note.txt", stop)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("note.txt", b"before")]
