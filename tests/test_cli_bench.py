"""`salience measure` and `salience bench`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import salience
from salience.boxes import toy
from salience.cli import main
from salience.errors import BoxError, SettingError

GRID = """
measures = ["energy", "sparsity/gini"]
batch = 4
[methods]
gradient = {}
[boxes]
colour = "toy:colour"
[data]
scenes = "shapes:plain?count=6&size=32"
"""


def explained(folder: Path) -> Path:
    """Save the explanation of a red patch."""
    return salience.explain("toy:colour", toy.picture(), "occlusion", window=8, stride=4).save(folder / "red.salience")


def test_measure_prints_each_figure_with_its_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its direction and cost; a mask of the object may be given."""
    mask = torch.zeros(3, 32, 32)
    mask[:, 6:14, 14:22] = 1
    truth = salience.explain("toy:colour", mask, "gradient").picture.pixels
    truth.save(tmp_path / "mask.png")
    wanted = ["--measures", "deletion,pointing-game,cost/passes", "--truth", str(tmp_path / "mask.png")]
    assert main(["measure", str(explained(tmp_path)), "--box", "toy:colour", "--json", *wanted]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["protocol"] for each in said["figures"]] == ["deletion/rise-2018", "pointing-game/torchray", "cost/passes"]
    assert [each["better"] for each in said["figures"]] == ["lower", "higher", "lower"]
    assert said["figures"][1]["value"] == 1
    assert said["figures"][0]["passes"] == 32 * 32 // 224 + 2


def test_measure_explains_a_picture_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture in place of a record."""
    explained(tmp_path)
    salience.explain("toy:colour", toy.picture(), "gradient").picture.pixels.save(tmp_path / "red.png")
    assert main(["measure", str(tmp_path / "red.png"), "--box", "toy:colour", "--method", "gradient"]) == 0
    out = capsys.readouterr().out
    assert "gradient of 'red'" in out
    assert "average-drop/score-cam" in out


def test_another_box_than_the_explained_one_is_refused(tmp_path: Path) -> None:
    """Its map says nothing of the other."""
    why = salience.Explanation.load(explained(tmp_path))
    with pytest.raises(BoxError, match="expected the box that was explained, toy:colour, got another: toy:corner"):
        salience.measure("toy:corner", why, ["deletion"])


def test_a_measure_that_lacks_something_says_what(tmp_path: Path) -> None:
    """The place of the object, here."""
    why = salience.Explanation.load(explained(tmp_path))
    with pytest.raises(SettingError, match="expected the place of the object for pointing-game/torchray"):
        salience.measure("toy:colour", why, ["pointing-game"])


def test_a_loaded_explanation_is_asked_again_with_its_settings(tmp_path: Path) -> None:
    """Stability re-explains: the method is made anew from the record."""
    why = salience.Explanation.load(explained(tmp_path))
    (figure,) = salience.measure("toy:colour", why, ["stability/noise"])
    assert figure.value > 0
    assert figure.passes >= 5 * why.passes


def test_bench_runs_a_file_and_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four cells with the controls, six pictures, two measures."""
    (tmp_path / "grid.toml").write_text(GRID, encoding="utf-8")
    words = ["bench", str(tmp_path / "grid.toml"), "--out", str(tmp_path / "run")]
    assert main([*words, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [each["pictures"] for each in plan["cells"]] == [6] * 4
    assert not (tmp_path / "run").exists()
    assert main(words) == 0
    assert "48 rows, 0 of them failures" in capsys.readouterr().out
    assert (tmp_path / "run" / "rows.parquet").exists()
    assert (tmp_path / "run" / "grid.toml").read_text(encoding="utf-8") == GRID


def test_only_runs_some_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a part of the name; a wrong one is answered with close ones."""
    (tmp_path / "grid.toml").write_text(GRID, encoding="utf-8")
    words = ["bench", str(tmp_path / "grid.toml"), "--out", str(tmp_path / "run"), "--only"]
    assert main([*words, "edge"]) == 0
    assert [each.name for each in (tmp_path / "run" / "cells").glob("*.jsonl")] == ["edge-detector--colour--scenes--0.jsonl"]
    assert main([*words, "gradiant--colour--scenes--0"]) == 2
    assert "did you mean gradient--colour--scenes--0" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["bench --ot x", "measure --mesures x", "list methods --jsn", "report --ou x"])
def test_a_wrong_option_is_answered_with_the_commands_own(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the command."""
    assert main(words.split()) == 2
    assert "did you mean" in capsys.readouterr().err
