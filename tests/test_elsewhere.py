"""Everything runs on a device beside the CPU, as the images and the weights lie there: see `tests.elsewhere`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOME = ("rise", "occlusion", "grad-cam", "sise", "plain", "deletion/rise-2018")


def compare(*names: str) -> dict[str, Any]:
    """Compare here and there in a process of its own, for the device stays."""
    ask = [sys.executable, "-m", "tests.elsewhere", *names]
    done = subprocess.run(ask, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    assert done.returncode == 0, done.stderr[-2000:]
    problems: dict[str, Any] = json.loads(done.stdout)
    return problems


def test_one_of_each_kind_does_elsewhere_what_it_does_here() -> None:
    """No tensor of one device meets one of another, and the figures are the same."""
    assert compare(*SOME, "the backend that auto takes") == dict.fromkeys((*SOME, "the backend that auto takes"), "")


@pytest.mark.slow
def test_methods_and_measures_do_elsewhere_what_they_do_here() -> None:
    """All of them, and the trainers."""
    problems = compare()
    assert len(problems) > 80
    assert {name: problem for name, problem in problems.items() if problem} == {}
