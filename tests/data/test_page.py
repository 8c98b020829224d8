"""The page about data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from salience import registry

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of code is run, and the block of text compared."""
    code, printed = re.findall(r"^```(?:python|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "data.md", "exec"), {})  # noqa: S102  # our own page
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("kind", registry.list_names("data"))
def test_every_kind_has_its_spec_on_the_page(kind: str) -> None:
    """In the table, and under a heading."""
    assert f"| `{kind}:" in PAGE
    assert re.search(rf"^### (.*, )?{kind}\b", PAGE, re.MULTILINE)
