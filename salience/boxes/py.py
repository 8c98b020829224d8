"""`py:package.module:attribute` or `py:file.py:attribute`: a box, a torch module, a function, or a maker of one of them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from salience import specs
from salience.errors import BoxError, UnknownName
from salience.types import BlackBox


def load(name: str, **options: Any) -> BlackBox:
    """Import the attribute; a class is called first, and so is a function, with what it takes, unless options say size."""
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise BoxError(f"expected py:module:attribute, got py:{name}: name the module and what to take from it")
    module = _import(where)
    if not hasattr(module, attribute):
        raise UnknownName.of(f"attribute of {where}", attribute, [each for each in vars(module) if each[:1] != "_"])
    thing = getattr(module, attribute)
    if inspect.isclass(thing) or (not isinstance(thing, (BlackBox, nn.Module)) and "size" not in options):
        taken = {key: options.pop(key) for key in _list_parameters(thing) if key in options}
        try:
            thing = thing(**taken)
        except TypeError as problem:
            raise BoxError(
                f"expected {name} to be a box or to make one, got {type(thing).__name__}: "
                "for a plain function give its size, as in ?size=224"
            ) from problem
    return specs.open_box(thing, **options)


def _list_parameters(maker: Any) -> tuple[str, ...]:
    """Name what a function takes; options of a class are for the box that is made of it."""
    with suppress(TypeError, ValueError):  # not to be called, or written in C
        return () if inspect.isclass(maker) else tuple(inspect.signature(maker).parameters)
    return ()


def _import(where: str) -> Any:
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise BoxError(f"expected a Python file at {where}, got nothing there: check the path")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise BoxError(f"expected a Python file at {where}, got one that cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        return module
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module in the present folder, as `python -m` would find it
    try:
        return importlib.import_module(where)
    except ImportError as problem:
        raise BoxError(f"expected a module {where}, got {problem}: is it installed, or in this folder?") from problem
