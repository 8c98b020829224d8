"""Whether passes of a network may be made side by side: none keeps anything where another would read it.

A look at values from outside, before any pass: what is not known to keep nothing is taken to keep something.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

LIBRARIES = ("torch", "torchvision", "timm", "transformers", "open_clip", "salience")  # whose parts are made to be shared
PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, Tensor, type, ModuleType)
DEEP = 4  # containers within containers
OWN = frozenset(vars(nn.Module())) | {"_is_hf_initialized"}
HOOKS = tuple(name for name in OWN if "hooks" in name)


def keeps_nothing(module: nn.Module) -> bool:
    """Say whether no pass of a module can leave anything for another: no odd object, hook, global or closure of the user's.

    >>> class Memo(nn.Module):
    ...     def __init__(self, memo):
    ...         super().__init__()
    ...         self.memo = memo
    >>> keeps_nothing(nn.ReLU()), keeps_nothing(Memo(3)), keeps_nothing(Memo({})), keeps_nothing(Memo(object()))
    (True, True, True, False)
    """
    if not all(map(_is_safe_class, set(map(type, module.modules())))):
        return False
    for inner in module.modules():
        depth = (
            DEEP if _is_of_library(type(inner)) else 1
        )  # a change within a container is seen one deep, or made by a library
        held = (value for name, value in vars(inner).items() if name not in OWN)
        hooks = (each for name in HOOKS for each in (getattr(inner, name) or {}).values())
        if not all(_is_plain(each, depth) for each in held) or not all(_is_plain(each, 0) for each in hooks):
            return False
    return True


def _is_plain(value: Any, depth: int) -> bool:
    """Say whether a value is one that cannot be changed within, or whose change is seen from outside."""
    if isinstance(value, (*PLAIN, BuiltinFunctionType)) or _is_of_library(type(value)):
        return True
    if isinstance(value, (MethodType, FunctionType)):
        function: Any = getattr(value, "__func__", value)
        return _is_safe_function(function) and _is_plain(getattr(value, "__self__", None), 0)
    if isinstance(value, (tuple, frozenset)):
        return all(_is_plain(each, depth) for each in value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, set)) else None
    return inner is not None and depth > 0 and all(_is_plain(each, depth - 1) for each in inner)


def _is_of_library(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in LIBRARIES


def _is_safe_class(cls: type) -> bool:
    """Look at the functions of a class, up to those of a library; what was scripted cannot be looked at."""
    if issubclass(cls, torch.jit.ScriptModule):
        return False
    own = [each for each in cls.__mro__ if each is not object and not _is_of_library(each)]
    functions = [getattr(value, "__func__", value) for each in own for value in vars(each).values()]
    return all(_is_safe_function(each) for each in functions if isinstance(each, FunctionType))


def _is_safe_function(function: FunctionType) -> bool:
    """Look for what a function reads or writes beside its arguments."""
    if function.__module__.partition(".")[0] in LIBRARIES:
        return True
    cells = [each.cell_contents for each in function.__closure__ or () if _is_full(each)]
    codes = list(_list_codes(function.__code__))
    names = {name for code in codes for name in code.co_names}
    globals_read = list(_read(function.__globals__, names))
    writes = any(each.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") for code in codes for each in dis.get_instructions(code))
    return not writes and all(
        isinstance(each, (*PLAIN, FunctionType, BuiltinFunctionType)) for each in [*cells, *globals_read]
    )


def _read(values: Mapping[str, Any], names: set[str]) -> Iterator[Any]:
    for name in names & values.keys():
        value = values[name]
        if not (_is_of_library(type(value)) and not isinstance(value, nn.Module)):
            yield value


def _is_full(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _list_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _list_codes(each)
