"""Code of a box that ends the program: a sentence and exit code 2, never a success with nothing explained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import salience
from salience import specs
from salience.boxes import toy
from salience.cli import main
from salience.errors import BoxError

CODE = """
import sys
from torch import nn

def score(images):
    sys.exit(0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
    def forward(self, images):
        sys.exit("done")

def make():
    raise SystemExit
"""


@pytest.mark.parametrize("box", ["py:sys:exit", "py:{0}:make", "py:{0}:Net?size=32", "py:{0}:score?size=32", "py:{1}:make"])
@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_an_exit_of_a_box_is_a_sentence_and_code_2(
    box: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it is imported, made or asked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exits.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "at_once.py").write_text("raise SystemExit(0)", encoding="utf-8")
    assert main(["explain", "--method", method, "--box", box.format("exits.py", "at_once.py")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "expected an answer of" in said.err
    assert "got an exit of the program" in said.err
    assert not (tmp_path / "salience-out").exists()
    for name in ("exits", "at_once"):
        sys.modules.pop(name, None)


class Exits(nn.Module):
    """Answers until it is told to leave."""

    leaves = False

    def __init__(self) -> None:
        super().__init__()
        self.inner = toy.Colour()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Leave, or answer."""
        if self.leaves:
            sys.exit(0)
        scores: torch.Tensor = self.inner(images)
        return scores


@pytest.mark.parametrize("method", ["occlusion", "gradient", "grad-cam"])
def test_so_is_one_in_the_middle_of_an_explanation(method: str) -> None:
    """Whatever asks the box."""
    module = Exits()
    box = specs.open_box(module, size=32, backend="exact")
    salience.explain(box, toy.picture(32), method)
    module.leaves = True
    with pytest.raises(BoxError, match="got an exit of the program"):
        salience.explain(box, toy.picture(32), method)
