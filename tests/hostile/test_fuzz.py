"""Odd input of every kind, by the thousand: accepted rightly, or refused in one sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.fuzz import kinds
from tests.hostile.fuzz.judge import GOOD, judge

HERE = Path(__file__).parent
FUZZ = [sys.executable, "-m", "tests.hostile.fuzz"]
QUICK = (  # milliseconds a case
    "pictures,options,boxes,records,explainers,trained folders,settings,measures,data sets,journals,grids"
)
SLOW = "command lines"  # a tenth of a second


def fuzz(*words: str) -> str:
    """Run the harness in a process of its own, without the type checker of the tests, and return its table."""
    done = subprocess.run([*FUZZ, *words], capture_output=True, text=True, check=False, cwd=HERE.parents[1])  # noqa: S603  # our own words
    assert done.returncode == 0, done.stderr[-8000:] + done.stdout
    return done.stdout


def test_two_thousand_odd_inputs_are_accepted_rightly_or_refused_in_one_sentence() -> None:
    """No other exception, nothing that hangs, nothing that is silently wrong; the same cases every time."""
    said = fuzz("--cases", "1900", "--kinds", QUICK)

    assert int(re.findall(r"\| all \| ([\d,]+)", said)[0].replace(",", "")) > 1500


def test_odd_command_lines_end_with_one_line_and_code_2() -> None:
    """On good and damaged files, and on a disk that is full."""
    assert "| command lines |" in fuzz("--cases", "16", "--kinds", SLOW)


def test_every_case_that_once_failed_is_right() -> None:
    """A crash that was found stays as a case: `cases` has a file for each."""
    said = fuzz("--replay", str(HERE / "cases"))

    assert int(re.findall(r"\| all \| (\d+)", said)[0]) == len(list((HERE / "cases").glob("*.json")))


def test_a_grid_that_is_no_text_is_one_sentence() -> None:
    """A byte that is no UTF-8, in the middle."""
    assert judge(kinds.find("grids"), ["damage", [["insert", 0.5, 161]]]).verdict in GOOD


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "options", "boxes", "records", "explainers", "command lines"])
def test_so_do_many_more(kind: str) -> None:
    """Other ones every time."""
    fuzz("--minutes", "2", "--kinds", kind)
