"""Examples in docstrings: each is run, and no public object is without one."""

from __future__ import annotations

import ast
import doctest
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import salience

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

ROOT = Path(salience.__file__).parent
EXEMPT = {"cli": "its docstrings are what --help prints, to somebody who types commands and no Python"}
REQUIRED = {"salience.runtime." + each: "openvino" for each in ("blending", "compiled", "openvino")}  # not on every platform
REGISTERS = {"methods", "measures", "trainers", "checks", "data", "boxes"}  # a file's one public object has its name
SLOW = {  # `make test-all` runs them
    "salience.interop.torchmetrics": "importing torchmetrics takes longer than importing torch",
    "salience.tasks.export": "torch takes ten seconds to export the smallest network",
}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

Definition = ast.FunctionDef | ast.ClassDef


def list_files(under: str = "") -> list[Path]:
    """List the public files of a folder or a file, named without its suffix."""
    files = (each for each in sorted(ROOT.rglob("*.py")) if f"{each.relative_to(ROOT).with_suffix('')}/".startswith(under))
    return [each for each in files if not any(part.startswith("_") for part in each.relative_to(ROOT).parts)]


def list_public(file: Path) -> Iterator[Definition]:
    """Yield the public classes and functions of a file; abstract ones cannot be called and need no example."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        if any(ast.unparse(each) == "overload" for each in node.decorator_list):
            continue  # what follows it has the docstring
        bases = {ast.unparse(base) for base in node.bases} if isinstance(node, ast.ClassDef) else set()
        own = node.name.lower() == file.stem.replace("_", "")
        if not bases & {"ABC", "Protocol"} and (own or file.relative_to(ROOT).parts[0] not in REGISTERS):
            yield node


def find_missing(under: str = "") -> list[str]:
    """Name the public objects without an example: `find_missing("engine")` lists those of a folder."""
    return [
        f"{file.relative_to(ROOT.parent)}:{node.lineno} {node.name}"
        for file in list_files(under)
        if file.relative_to(ROOT).parts[0] not in EXEMPT
        for node in list_public(file)
        if ">>>" not in (ast.get_docstring(node) or "")
    ]


def list_modules() -> list[ParameterSet]:
    """Name the modules in which there are examples."""
    files = (each for each in sorted(ROOT.rglob("*.py")) if ">>> " in each.read_text(encoding="utf-8"))
    names = [".".join(each.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__") for each in files]
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in names]


@pytest.mark.parametrize("name", list_modules())
def test_the_examples_of_a_module_give_what_they_say(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An example that is not run is wrong after the next change."""
    if name in REQUIRED and find_spec(REQUIRED[name]) is None:
        pytest.skip(f"needs {REQUIRED[name]}")
    module = pytest.importorskip(name)
    failed, ran = doctest.testmod(module, optionflags=OPTIONS)
    assert not failed, capsys.readouterr().out
    assert ran > 0, f"{name} has examples that doctest does not find"


def test_every_public_object_has_an_example() -> None:
    """`help()` shows the smallest call and what it gives."""
    assert find_missing() == []
