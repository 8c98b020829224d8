"""A run that is killed in a write, or finds the disk full, goes on and ends as an undisturbed one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def kill(*words: str) -> list[dict[str, Any]]:
    """Run the program that kills; return its lines."""
    done = subprocess.run(  # noqa: S603  # ourselves
        [sys.executable, "-m", "tests.hostile.kills", *words], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def some() -> list[dict[str, Any]]:
    """Try two writes in the midst of a bench with one worker and with three, and a clock that goes back."""
    return kill("bench", "workers", "--some", "2")


def test_a_bench_killed_in_a_write_has_the_rows_of_an_undisturbed_one(some: list[dict[str, Any]]) -> None:
    """What was written stays, what was not is made, and nothing is there twice."""
    assert [each for found in some for each in found["wrong"] if not each.startswith("full")] == []
    assert [found["tries"] for found in some] == [5, 4]
    assert all(found["writes"] > 50 for found in some)


def test_a_bench_on_a_full_disk_ends_with_code_2_and_goes_on(some: list[dict[str, Any]]) -> None:
    """A sentence, no defect; what was written is whole."""
    assert [each for found in some for each in found["wrong"] if each.startswith("full")] == []


@pytest.mark.slow  # hundreds of runs: python -m tests.hostile.kills --every
@pytest.mark.parametrize("command", ["bench", "workers", "fit", "train", "record", "cache"])
def test_a_kill_and_a_full_disk_at_every_write_change_no_result(command: str) -> None:
    """Rows, weights, records and what the cache gives, but for seconds."""
    (found,) = kill(command, "--every")
    assert found["wrong"] == {}
    assert found["tries"] >= 2 * found["writes"] > 20
