"""SECURITY.md and docs/durability.md: each promise is held by a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/durability.md"])
def test_every_promise_names_a_test_that_is_there(page: str) -> None:
    """Under its name, in a file that the page names."""
    text = (ROOT / page).read_text(encoding="utf-8")
    there = "".join(each.read_text(encoding="utf-8") for each in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) > 10
    assert [each for each in named if f"def {each}(" not in there] == []
    assert all((ROOT / each).exists() for each in re.findall(r"tests/[\w/]*test_\w+\.py", text))
