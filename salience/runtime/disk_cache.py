"""A cache that processes share, in the user's cache folder: which backend was chosen, networks that were compiled, lists.

The folder is the environment variable SALIENCE_CACHE, else `salience` in the system's folder for such things;
SALIENCE_CACHE="" keeps nothing. It may be deleted at any time. Entries lie in a folder of their own inside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from salience.runtime import cache_folder

if TYPE_CHECKING:
    import torch
    from torch import nn

T = TypeVar("T")
MOST, FILES = 2 * 2**30, 500  # bytes and files; beyond that, what was used least recently goes


def read(name: str) -> bytes | None:
    """Return what was written under a name; None where nothing was, or what is there is damaged.

    >>> read("no such name") is None
    True
    """
    path = cache_folder.find_path(name)
    return None if path is None else cache_folder.read_entry(path)


def read_value(name: str, read_plain: Callable[[Any], T]) -> T | None:
    """Return what a function makes of the plain value that was written; None where it makes nothing of it.

    >>> read_value("no such name", str) is None
    True
    """
    content = read(name)
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None if content is None else read_plain(json.loads(content))
    return None


def write(name: str, content: bytes) -> None:
    """Write a file whole or not at all; where the folder is not writable nothing is cached.

    >>> write("example", b"kept")  # read("example") returns it, also in another process
    """
    path = cache_folder.find_path(name)
    if path is not None and len(content) <= MOST:
        with contextlib.suppress(OSError):
            cache_folder.write_entry(path, content)
            cache_folder.delete_oldest(path.parent, MOST, FILES)


def make_key(*parts: object) -> str:
    """Make a name of everything that the thing depends on.

    >>> make_key("resnet18", 224) == make_key("resnet18", 224)
    True
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def describe_machine(device: torch.device) -> str:
    """Say on what passes run: processor, threads, and the libraries' versions.

    >>> import torch
    >>> describe_machine(torch.device("cpu")).partition(",")[0]
    'cpu'
    """
    import torch  # here, for the command line reads its lists before there is a need of torch

    from salience.engine.query import torch_threads

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return f"{device.type}, {name}, {torch_threads.count()} threads, torch {torch.__version__}, {_find_version('openvino')}"


def hash_code(module: nn.Module) -> str | None:
    """Hash how a module computes, its weights apart: its structure, its plain attributes, and the files of its code.

    None where code cannot be read, as in a notebook: what depends on it is then not kept.

    >>> from torch import nn
    >>> hash_code(nn.Conv2d(3, 8, 3)) == hash_code(nn.Conv2d(3, 8, 5))
    False
    """
    found = hashlib.sha256(repr(module).encode())
    for name, inner in module.named_modules():
        plain = {key: _plain(value) for key, value in vars(inner).items() if key[:1] != "_" and key != "training"}
        found.update(repr((name, plain)).encode())
    try:
        for file in sorted(set(_sources(module))):
            found.update(Path(file).read_bytes())
    except OSError:
        return None
    return found.hexdigest()


def _sources(module: nn.Module) -> Iterator[str]:
    for kind in {kind for inner in module.modules() for kind in type(inner).__mro__}:
        if kind.__module__.partition(".")[0] not in ("torch", "builtins"):
            yield str(getattr(sys.modules.get(kind.__module__), "__file__", None) or "?")  # no such file


def _plain(value: Any) -> str:
    if isinstance(value, (bool, int, float, str, tuple, list, type(None))):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__name__)


@cache
def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _find_version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"
