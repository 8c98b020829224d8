"""Hash a function and whatever it reads, so that two functions share a hash only if they answer alike."""

from __future__ import annotations

import hashlib
import pickle
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from salience.runtime.module import hash_weights

INSTALLED = tuple({sysconfig.get_path(each) for each in ("stdlib", "platstdlib", "purelib", "platlib")})
PLAIN = (type(None), bool, int, float, complex, str, bytes)
_unknown: dict[int, tuple[Any, str]] = {}  # objects that cannot be looked into, held, each with a name of its own


def hash_value(value: Any) -> str:
    """Return a hash of a function or an object: its code, closures, defaults, attributes, and the globals that it reads."""
    digest = hashlib.sha256()
    for part in _walk(value, {}):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _walk(value: Any, seen: dict[int, tuple[int, Any]]) -> Iterator[bytes]:
    """Yield what tells a value from others; what was met before is named by its number, so circles end."""
    if isinstance(value, PLAIN):
        yield repr((type(value).__name__, value)).encode()
        return
    if id(value) in seen:
        yield f"met {seen[id(value)][0]}".encode()
        return
    seen[id(value)] = len(seen), value  # held, or another object could get its number
    yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
    if isinstance(value, ModuleType | BuiltinFunctionType | type | FunctionType) and _installed(value):
        yield _describe(value).encode()
        return
    if isinstance(value, torch.Tensor):
        yield hash_weights("", {"": value}).encode()
    elif isinstance(value, np.ndarray | np.generic):
        yield repr((value.dtype.str, value.shape)).encode()
        yield np.ascontiguousarray(value).tobytes() if value.dtype != object else pickle.dumps(value)
    elif isinstance(value, nn.Module):
        yield hash_weights(repr(value), value.state_dict()).encode()
    elif isinstance(value, ModuleType | BuiltinFunctionType):
        yield _describe(value).encode()
    else:
        yield from _walk_parts(value, seen)


def _walk_parts(value: Any, seen: dict[int, tuple[int, Any]]) -> Iterator[bytes]:
    split = next((split for kinds, split in PARTS if isinstance(value, kinds)), _split_object)
    parts = split(value)
    yield str(len(parts)).encode()
    for part in parts:
        yield from _walk(part, seen)


def _split_code(code: CodeType) -> list[Any]:
    return [code.co_code, *code.co_names, *code.co_varnames[: code.co_argcount], *code.co_consts]


def _split_function(function: FunctionType) -> list[Any]:
    cells = [each.cell_contents for each in function.__closure__ or () if each != CellType()]
    return [function.__code__, cells, function.__defaults__, function.__kwdefaults__, _globals(function)]


def _split_class(cls: type) -> list[Any]:
    own = [each for each in vars(cls).values() if isinstance(each, FunctionType | staticmethod | classmethod | property)]
    return [*own, *cls.__bases__]


def _split_object(value: Any) -> list[Any]:
    return [type(value), vars(value) if hasattr(value, "__dict__") else _name(value)]


PARTS: tuple[tuple[Any, Callable[[Any], Sequence[Any]]], ...] = (
    (CodeType, _split_code),
    (FunctionType, _split_function),
    (type, _split_class),
    (staticmethod | classmethod, lambda value: [value.__func__]),
    (property, lambda value: [value.fget]),
    (MethodType, lambda value: [value.__func__, value.__self__]),
    (partial, lambda value: [value.func, value.args, value.keywords]),
    (Mapping, lambda value: [each for pair in sorted(value.items(), key=repr) for each in pair]),
    (set | frozenset, lambda value: sorted(value, key=repr)),
    (list | tuple, lambda value: value),
)


def _installed(value: Any) -> bool:
    """Say whether something is of an installed package or of Python: its name and version tell it from others."""
    module = value.__name__ if isinstance(value, ModuleType) else value.__module__ or "builtins"
    file = getattr(sys.modules.get(module), "__file__", None)
    return module != "__main__" and (file is None or str(file).startswith(INSTALLED))


def _describe(value: Any) -> str:
    module = value.__name__ if isinstance(value, ModuleType) else value.__module__ or "builtins"
    version = getattr(sys.modules.get(module.partition(".")[0]), "__version__", "")
    return f"{module} {version} {getattr(value, '__qualname__', '')}"


def _globals(function: FunctionType) -> dict[str, Any]:
    """Find the globals that a function and the functions inside it read."""
    names, codes = set[str](), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
    return {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}


def _name(value: Any) -> str:
    """Name an object that cannot be looked into: by what it pickles to, else by itself, in this process alone."""
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:  # noqa: BLE001  # whatever foreign code raises, it does not pickle
        return _unknown.setdefault(id(value), (value, uuid.uuid4().hex))[1]  # held, so no other has its number
