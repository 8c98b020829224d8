"""What the lists and the help say, kept between processes: to describe the methods is to import them, and torch with them.

What is kept depends on the package's own files only. Where another package joins, everything is described anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from os import scandir
from pathlib import Path
from typing import Any

import salience
from salience import registry
from salience.describe.settings import read_settings
from salience.registry import Setting
from salience.runtime import disk_cache

PACKAGE = Path(salience.__file__).parent


def recall(function: str, *words: str) -> Any:
    """Return what a function of a module of `describe` says of some words, in plain values.

    >>> recall("methods.describe_method", "grad-cam")["needs"]
    'gradients'
    """
    name = None if _has_plugins() else f"{disk_cache.make_key(function, words, sys.version, list(_stamp(PACKAGE)))}.json"
    kept = None if name is None else disk_cache.read_value(name, lambda value: value)
    if kept is not None:
        return kept
    module, _, called = function.partition(".")
    text = json.dumps(getattr(import_module(f"salience.describe.{module}"), called)(*words), default=str)
    if name is not None:
        disk_cache.write(name, text.encode())
    return json.loads(text)


def list_settings(method: str) -> tuple[str, tuple[Setting, ...]]:
    """Return a method's own name, and its settings with their types.

    >>> list_settings("grad-cam++")[0]
    'grad-cam++'
    """
    if _has_plugins():  # their types may be any
        cls = registry.find_method(method)
        return registry.find_name(cls), registry.list_settings(cls)
    facts = recall("settings.write_settings", method)
    return facts["name"], read_settings(facts["settings"])


def _has_plugins() -> bool:
    return any(group.startswith("salience.") for group in entry_points().groups)


def _stamp(folder: Path | str) -> Iterator[tuple[str, int, int]]:
    """Yield every file of code under a folder, with its time and size."""
    for entry in sorted(scandir(folder), key=lambda each: each.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _stamp(entry.path)
        elif entry.name.endswith(".py"):
            about = entry.stat()
            yield entry.path, about.st_mtime_ns, about.st_size
