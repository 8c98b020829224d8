"""Small enough to hold: a file within 200 lines, a function within 40, a method within six settings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import salience
from salience import registry

ROOT = Path(salience.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
DECISIONS = ROOT.parent / "docs" / "decisions"
FILE, FUNCTION, SETTINGS = 200, 40, 6


def decided() -> str:
    """Return the text of all decision notes."""
    return "\n".join(each.read_text(encoding="utf-8") for each in sorted(DECISIONS.glob("*.md")))


@pytest.mark.parametrize("file", FILES, ids=lambda each: str(each.relative_to(ROOT)))
def test_a_file_and_its_functions_fit_their_budget(file: Path) -> None:
    """What does not fit is two ideas."""
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE, f"{file.relative_to(ROOT.parent)} has more than {FILE} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION, f"{file.relative_to(ROOT.parent)}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize("name", registry.list_names("methods"))
def test_more_than_six_settings_need_a_decision(name: str) -> None:
    """A note in docs/decisions names the class and says why."""
    cls = registry.find_method(name)
    assert len(registry.list_settings(cls)) <= SETTINGS or f"`{cls.__name__}`" in decided(), (
        f"no note names `{cls.__name__}`"
    )
