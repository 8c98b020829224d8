"""Documents that are checked."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from salience import registry

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "adding-a-method.md"


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """List the Python blocks of a page that are files: first line, the file's module, text."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python file=(\S+)\.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: each.start(2)].count("\n") + 1, each[1].replace("/", "."), each[2]) for each in found]


def test_the_example_of_a_new_method_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is the file that it names; the later ones import the earlier, and their tests are run."""
    ran = 0
    for line, name, block in blocks(PAGE):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile("\n" * (line - 1) + block, str(PAGE), "exec"), vars(module))  # noqa: S102  # our own page
        for each, thing in list(vars(module).items()):
            if each.startswith("test_"):
                thing()
                ran += 1
    assert ran > 0, f"{PAGE.name} has no test"


@pytest.mark.parametrize("name", registry.list_names("methods"))
def test_a_methods_docstring_says_where_it_departs_and_what_it_costs(name: str) -> None:
    """The first line of the file is the citation; the class says the idea, a formula, the departures and the cost."""
    cls = registry.find_method(name)
    module = __import__(cls.__module__, fromlist=["x"])
    text = cls.__doc__ or ""
    assert re.search(r"\b(19|20)\d\d\.", module.__doc__ or ""), "the file begins with a citation"
    for word in ("Departs", "Cost"):
        assert word in text, f"the docstring of {cls.__name__} has no {word!r}"
    assert "=" in text, "a formula"
