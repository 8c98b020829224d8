"""What a type checker says of the main entries: no `Any` comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
from collections.abc import Iterator
from typing import assert_type

import torch
from torch import nn

import salience
from salience import Explanation
from salience.types import BlackBox, OpenBox

assert_type(salience.load("toy:colour"), BlackBox)
assert_type(salience.load(nn.Linear(2, 2), size=8), OpenBox)
box = salience.load()
assert_type(salience.load(box), BlackBox)
assert_type(salience.explain(box, "dog.jpg"), Explanation)
assert_type(salience.explain(box, "dog.jpg", "rise", target="dog", masks=100), Explanation)
assert_type(salience.explain(box, ["dog.jpg", "cat.jpg"]), list[Explanation])
assert_type(salience.explain(box, "dog.jpg", target=["dog", "cat"]), list[Explanation])
assert_type(salience.explain(box, torch.rand(2, 3, 8, 8)), Explanation | list[Explanation])
assert_type(salience.watch(box, "dog.jpg"), Iterator[Explanation])
"""


def test_the_main_entries_have_types_that_help(tmp_path: Path) -> None:
    """Mypy agrees with every `assert_type`; a tensor may be one picture or many."""
    file = tmp_path / "user.py"
    file.write_text(CODE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", str(file)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)  # noqa: S603  # our own words

    assert done.returncode == 0, done.stdout
