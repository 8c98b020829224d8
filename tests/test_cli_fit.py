"""`salience fit` and `salience export`: from pictures to an explainer that `salience explain` finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from salience.cli import main
from tests import trained

TOY = ("--box", "toy:colour")
DATA = ("--data", "shapes:plain?count=30&size=32")
FIT = (
    "fit",
    "p-tame",
    *TOY,
    *DATA,
    "--aux",
    "toy:colour",
    "--classes",
    "red",
    "--classes",
    "green",
    "--held",
    "2",
    "--batch",
    "6",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep explainers away from the user's, and runs in a folder of their own."""
    monkeypatch.setenv("SALIENCE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_was_fitted_explains_with_no_further_argument(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The explainer is found by its box; the run leaves a curve and its figures."""
    assert main([*FIT, "--steps", "4", "--check", "2"]) == 0
    said = capsys.readouterr()
    assert "knows      2 classes of toy:colour: red, green" in said.out
    assert "step 2 of 4: loss" in said.err
    for name in ("explainer.safetensors", "curve.png", "history.jsonl", "run.json"):
        assert (home / "salience-fit" / name).stat().st_size > 0

    assert main(["explain", *TOY, "--method", "p-tame", "--target", "red", "--json", "--out", "out"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["method"], facts["passes"], facts["layers"]) == ("p-tame", 1, ["act"])


def test_fit_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else stands on standard output."""
    assert main([*FIT, "--steps", "2", "--check", "0", "--route", "queries", "--json", "--no-keep"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["classes"] == ["red", "green"]
    assert facts["trained"]["trainer"]["route"] == "queries"
    assert not Path("home").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "p-tame", *TOY), "expected pictures to learn from, got none: give --data"),
        (("fit", "p-tam"), "did you mean p-tame?"),
        ((*FIT, "--stepz", "3"), "did you mean steps?"),
        ((*FIT, "--route", "both"), "expected gradient or queries for --route, got 'both'"),
        ((*FIT, "--classes", "purple"), "expected the name of a class, got 'purple'"),
        (("export", "p-tame", *TOY), "expected an explainer at"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line on standard error."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert said in err


def test_one_file_gives_scores_and_map(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In ONNX Runtime, for any number of pictures, for the likeliest class or another."""
    import onnxruntime as runtime

    from salience.boxes import toy
    from salience.methods.p_tame import PTame
    from tests.helpers import apart

    file = trained.file((0, 2))
    assert main(["export", "p-tame", *TOY, "--explainer", file, "--out", "both.onnx", "--json"]) == 0
    assert max(json.loads(capsys.readouterr().out)["apart"].values()) < 1e-5

    import numpy as np
    import torch

    box, image = toy.load("colour"), toy.picture(32, 0)
    session = runtime.InferenceSession("both.onnx", providers=["CPUExecutionProvider"])
    given = {"images": image.expand(5, -1, -1, -1).numpy(), "target": np.array([-1, 0, 2, -1, 0])}
    scores, explained, maps = (torch.from_numpy(each) for each in session.run(None, given))
    assert explained.tolist() == [0, 0, 2, 0, 0]
    assert apart(scores[0], box(image[None])[0]) < 1e-6
    for number, target in enumerate(explained.tolist()):
        assert apart(maps[number], PTame(file)(box, image, target)) < 1e-5
