"""SECURITY.md: each promise is held by a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_promise_names_a_test_that_is_there() -> None:
    """Under its name, in a file that the page names."""
    page = (HERE.parents[1] / "SECURITY.md").read_text(encoding="utf-8")
    there = "".join(each.read_text(encoding="utf-8") for each in HERE.glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 20
    assert [each for each in named if f"def {each}(" not in there] == []
    assert all((HERE / each).exists() for each in re.findall(r"tests/hostile/(test_\w+\.py)", page))
