"""What a run does when its folder, or what is in it, is lost: it says so, and is never half a success."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salience.bench import selection, unit
from salience.cli import main
from salience.errors import GridError
from tests.bench import tiny

GRID = """
measures = ["sparsity/gini"]
batch = 2
controls = false
[methods]
gradient = {}
[boxes]
colour = "toy:colour"
[data]
scenes = "shapes:plain?count=6&size=32"
"""
RAW: dict[str, Any] = {
    "methods": {"gradient": {}},
    "boxes": {"colour": "toy:colour"},
    "data": {"scenes": "shapes:plain?count=6&size=32"},
    "measures": ["sparsity/gini"],
    "batch": 2,
    "controls": False,
}


def bench(folder: Path, text: str = GRID) -> int:
    """Run a grid from the command line."""
    (folder / "grid.toml").write_text(text, encoding="utf-8")
    return main(["bench", str(folder / "grid.toml"), "--out", str(folder / "run")])


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (shutil.rmtree, "expected the folder of the run at"),
        (lambda run: run.rename(run.with_name("moved")), "got No such file or directory: put it back"),
        (lambda run: shutil.rmtree(run / "cells"), "expected rows of 6 pictures in .*, got 2: what is missing was lost"),
        (lambda run: next((run / "cells").glob("*.jsonl")).unlink(), "expected rows of 6 pictures in .*, got 2"),
    ],
)
def test_a_folder_that_vanishes_ends_the_run_with_code_2(
    loss: Callable[[Path], Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After the second of three units; the folder is not made anew, and what is left is not taken for all."""
    whole, units = unit.run_unit, []

    def run_and_lose(*given: Any) -> int:
        units.append(whole(*given))
        if len(units) == 2:
            loss(tmp_path / "run")
        return units[-1]

    monkeypatch.setattr("salience.bench.runner.run_unit", run_and_lose)
    assert bench(tmp_path) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "run" / "rows.parquet").exists()
    if (tmp_path / "run").exists():
        monkeypatch.undo()
        assert bench(tmp_path) == 0
        assert "6 rows" in capsys.readouterr().out


def test_a_refused_grid_has_replaced_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other measures, data that are not there, a name that is none: all is looked at before anything is written."""
    assert bench(tmp_path) == 0
    run = tmp_path / "run"
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for old, new in (("sparsity/gini", "energy"), ("shapes:plain", "folder:nowhere"), ("count=6", "count=5"), ("{}", "3")):
        assert bench(tmp_path, GRID.replace(old, new)) == 2
    assert bench(tmp_path, GRID + 'more = "folder:nowhere"\n') == 2
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    capsys.readouterr()


DAMAGE = [b"", b"{", b"[]", b'{"chosen": []}', b'{"chosen": 3, "about": {}}', b"\xff\xfe", b"[" * 9000]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_selection_is_decided_again_where_no_row_depends_on_it(tmp_path: Path, damage: bytes) -> None:
    """As where a power cut left it empty; nothing has to be deleted by hand."""
    (tmp_path / "selections").mkdir()
    file = tmp_path / "selections" / "colour--scenes.json"
    file.write_bytes(damage)
    assert len(tiny.run(tmp_path, RAW)) == 6
    good = file.read_bytes()
    file.write_bytes(damage)
    selection._cache.clear()  # as in another process
    with pytest.raises(GridError, match=r"got a damaged file, and 6 of them are measured: put it back from a copy"):
        tiny.run(tmp_path, RAW)
    file.write_bytes(good)
    assert len(tiny.run(tmp_path, RAW)) == 6


def test_a_selection_that_names_pictures_beyond_the_data_is_damaged(tmp_path: Path) -> None:
    """Their numbers would be an IndexError in the middle of the run."""
    tiny.run(tmp_path, RAW)
    file = tmp_path / "selections" / "colour--scenes.json"
    said = json.loads(file.read_bytes())
    said["chosen"][0]["number"] = 10**6
    file.write_text(json.dumps(said), encoding="utf-8")
    selection._cache.clear()  # as in another process
    with pytest.raises(GridError, match="got a damaged file"):
        tiny.run(tmp_path, RAW)


def test_a_contrast_goes_on(tmp_path: Path) -> None:
    """A pair of classes is a list in the file and a pair in the grid, and was taken for another grid's."""
    raw = RAW | {"target": ["red", "green"]}
    assert tiny.run(tmp_path, raw) == tiny.run(tmp_path, raw)
