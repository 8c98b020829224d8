"""Small enough to hold: a file within 250 lines, a function within 40, a method within six settings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import salience
from salience import registry

ROOT = Path(salience.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
DECISIONS = ROOT.parent / "docs" / "decisions"
FILE, FUNCTION, SETTINGS = 250, 40, 6
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def decided() -> str:
    """Return the text of all decision notes."""
    return "\n".join(each.read_text(encoding="utf-8") for each in sorted(DECISIONS.glob("*.md")))


def count_examples(node: ast.AST) -> int:
    """Count the lines of examples, which end a docstring after an empty line: they are there for `help()`."""
    texts = (ast.get_docstring(each) or "" for each in ast.walk(node) if isinstance(each, DOCUMENTED))
    return sum(text[text.index(">>>") :].count("\n") + 2 for text in texts if ">>>" in text)


def find_large(file: Path) -> Iterator[str]:
    """Name a file that has too many lines, and its functions that have; examples do not count."""
    text = file.read_text(encoding="utf-8")
    where, tree = file.relative_to(ROOT.parent), ast.parse(text)
    if len(text.splitlines()) - count_examples(tree) > FILE:
        yield f"{where} has more than {FILE} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - count_examples(node)
            if lines > FUNCTION:
                yield f"{where}:{node.lineno} {node.name} has {lines} lines"


def test_files_and_functions_fit_their_budget() -> None:
    """What does not fit is two ideas."""
    assert [each for file in FILES for each in find_large(file)] == []


def test_more_than_six_settings_need_a_decision() -> None:
    """A note in docs/decisions names the class and says why."""
    classes = [registry.find_method(name) for name in registry.list_names("methods")]
    many = [f"`{cls.__name__}`" for cls in classes if len(registry.list_settings(cls)) > SETTINGS]
    notes = decided()
    assert [name for name in many if name not in notes] == []
