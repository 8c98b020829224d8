"""How the command line starts: what is imported for what, and what is kept between processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from salience import registry
from salience.describe import catalogue, settings

QUICK = ("--version", "--help", "list methods", "list methods rise", "list measures", "list measures deletion", "list boxes")
HELP = ("explain --help", "explain --method hipe --help")
RUN = """
import contextlib, io, json, sys
from salience.cli import main
said = []
for words in {commands!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(words.split()) == 0
    said.append(out.getvalue())
heavy = ("torch", "numpy", "matplotlib", "timm", "torchvision", "sympy", "torch._dynamo", "matplotlib.figure", "openvino")
print(json.dumps([said, [name for name in heavy if name in sys.modules]]))
"""


def run(folder: Path, *commands: str) -> tuple[list[str], set[str]]:
    """Run commands in one fresh process; return what they printed, and which heavy modules the process has imported."""
    environment = os.environ | {"SALIENCE_CACHE": str(folder / "cache")}
    code = RUN.format(commands=commands)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)  # noqa: S603  # ourselves
    printed, heavy = json.loads(done.stdout)
    return printed, set(heavy)


def test_lists_and_help_need_no_torch_and_say_the_same(tmp_path: Path) -> None:
    """The first time the methods have to be imported to be described; what was said is kept for the next process."""
    first, _ = run(tmp_path, *QUICK, *HELP)
    second, heavy = run(tmp_path, *QUICK, *HELP)

    assert second == first
    assert heavy == set()


def test_explain_imports_only_what_it_uses(tmp_path: Path) -> None:
    """Importing timm brings torchvision, sympy and torch._dynamo; a figure of matplotlib is not needed for a picture."""
    _, heavy = run(tmp_path, f"explain --method grad-cam --out {tmp_path / 'out'}")

    assert heavy == {"torch", "numpy", "matplotlib"}
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


def test_settings_come_back_from_json_as_they_were() -> None:
    """Types, defaults and help: options are made of them."""
    for name in registry.list_names("methods"):
        written = json.loads(json.dumps(settings.write_settings(name)))
        assert settings.read_settings(written["settings"]) == registry.list_settings(registry.find_method(name))


def test_what_was_said_is_forgotten_when_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new method is listed at once."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path)
    (tmp_path / "methods.py").write_text("one")
    catalogue.recall("methods.describe_method", "rise")
    catalogue.recall("methods.describe_method", "rise")
    assert len(list((tmp_path / "cache").rglob("*.entry"))) == 1

    (tmp_path / "methods.py").write_text("another")
    catalogue.recall("methods.describe_method", "rise")

    assert len(list((tmp_path / "cache").rglob("*.entry"))) == 2


def test_nothing_is_kept_where_another_package_joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files may change unseen."""

    class Points:
        groups = frozenset({"salience.methods"})

    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "entry_points", Points)

    assert catalogue.recall("methods.describe_method", "rise")["name"] == "rise"
    assert catalogue.list_settings("rise") == ("rise", registry.list_settings(registry.find_method("rise")))
    assert not (tmp_path / "cache").exists()
