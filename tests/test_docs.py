"""Documents that are checked."""

from __future__ import annotations

import re
import runpy
import sys
from importlib import import_module
from pathlib import Path

import pytest

from salience import registry
from salience.cli.parse_errors import COMMANDS

DOCS = Path(__file__).parents[1] / "docs"


def write_blocks(page: Path, place: Path) -> list[Path]:
    """Write the Python blocks of a page into the files that they name."""
    found = re.finditer(r"^```python file=(\S+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    files = [(place / each[1], each[2]) for each in found]
    for file, text in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [file for file, _ in files]


@pytest.mark.parametrize("noun", ["method", "measure", "box"])
def test_the_example_of_a_page_runs(noun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are added to the folders that they name, where the registry finds them, and their tests are run."""
    files = write_blocks(DOCS / f"adding-a-{noun}.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    for folder in {file.parent for file in files if file.is_relative_to(tmp_path / "salience")}:
        package = import_module(".".join(folder.relative_to(tmp_path).parts))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    registry._list_own.cache_clear()
    try:
        tests = [each for file in files if file.name.startswith("test_") for each in runpy.run_path(str(file)).items()]
        ran = [thing() for name, thing in tests if name.startswith("test_")]
    finally:
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        registry._list_own.cache_clear()
    assert ran, f"the page on a {noun} has no test"


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


PROCESS = {  # what acts on the whole process, and the only files that may
    r"mallopt\(": ["engine/query/allocator.py"],
    r"torch\.set_num_threads": ["bench/runner.py", "engine/query/torch_threads.py"],
    r"set_stance\(": ["runtime/module.py"],
    r"set_rng_state\(": ["engine/training/modes.py"],
    r"sys\.modules\[.*\] = ": ["runtime/openvino.py"],
    r"sys\.modules\.setdefault": ["boxes/py.py"],
    r"sys\.path\.(insert|append)": ["boxes/py.py"],
    r"os\.environ(\.setdefault|\[.*\] = )": ["boxes/keras.py"],
    r"showwarning = ": ["cli/__init__.py"],
    r"torch\.(set_default|use_deterministic|set_float32|backends\.\w+\.\w+ = )": [],
    r"signal\.signal|basicConfig|set_start_method": [],
}


@pytest.mark.parametrize("act", PROCESS)
def test_what_acts_on_the_whole_process_is_done_in_one_file_and_listed(act: str) -> None:
    """The page on it names each file, and no other file does it."""
    package = Path(registry.__file__).parent
    files = [file for file in sorted(package.rglob("*.py")) if re.search(act, file.read_text(encoding="utf-8"))]
    names = [file.relative_to(package).as_posix() for file in files]

    assert names == PROCESS[act]
    page = (DOCS / "process-wide.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in names)


PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]


def test_links_of_the_documents_lead_somewhere() -> None:
    """Relative links name files that exist."""
    broken = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert not broken


def test_commands_of_the_documents_exist() -> None:
    """Each `python -m benchmarks.X` is a file, each `salience COMMAND` a command."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    modules = set(re.findall(r"-m benchmarks\.(\w+)", text))
    commands = set(re.findall(r"(?:^|`|uv run )salience ([a-z]+)", text, re.MULTILINE))

    assert not [name for name in modules if not (DOCS.parent / "benchmarks" / f"{name}.py").exists()]
    assert commands <= set(COMMANDS)
