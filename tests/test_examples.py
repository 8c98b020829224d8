"""The examples are files that run."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.stem)
def test_an_example_runs_and_says_what_it_found(example: Path, tmp_path: Path, monkeypatch, capsys):
    """What the documents show is run here, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    runpy.run_path(str(example), run_name="__main__")

    assert "passes" in capsys.readouterr().out
