"""`salience train`: from labelled pictures to a box that every other command takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from salience.cli import main

TRAIN = ("train", "scaat", "--box", "toy:colour", "--data", "shapes:plain?count=24&size=32", "--batch", "8")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give runs a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_was_trained_is_explained_by_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run leaves weights, a card, a curve and its figures; `trained:OUT` is a box."""
    assert main([*TRAIN, "--epochs", "2", "--check", "3", "--attack-steps", "1"]) == 0
    said = capsys.readouterr()
    assert "box      trained:salience-train" in said.out
    assert "step 3 of 6: loss" in said.err
    for name in ("weights.safetensors", "box.json", "README.md", "curve.png", "history.jsonl"):
        assert (home / "salience-train" / name).stat().st_size > 0

    assert main(["explain", "--box", "trained:salience-train", "--method", "gradient", "--json", "--out", "out"]) == 0
    assert json.loads(capsys.readouterr().out)["box"]["name"] == "toy:colour, scaat"


def test_train_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else stands on standard output."""
    assert main([*TRAIN, "--steps", "2", "--check", "0", "--mask", "mean", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["trainer"]["mask"] == "mean"
    assert facts["after"]["step"] == 2
    assert 0 <= facts["before"]["accuracy"] <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "scaat"], "expected pictures to learn from, got none"),
        ([*TRAIN, "--mask", "low"], "mask"),
        ([*TRAIN, "--epsilon", "-1"], "expected 0 ≤ epsilon, got -1"),
        ([*TRAIN, "--only", "head"], "module with weights"),
        (["train", "skaat"], "scaat"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and nothing on standard output."""
    assert main(words) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert not found.out


def test_the_parser_knows_the_trainers() -> None:
    """Its close matches are what the folder registers."""
    from salience.cli import parse_errors, train

    assert train.list_trainers() == parse_errors.TRAINERS
