"""What was found out about a box, kept under a name of its own, so that it need not be found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from torch import Tensor, nn

from salience.boxes._hash import hash_value
from salience.runtime import disk_cache

FORM = 2  # of what is remembered, its sentences too
Result = TypeVar("Result")


def remember(
    key: str | None, what: str, find: Callable[[], Result], write: Callable[[Result], Any], read: Callable[[Any], Result]
) -> Result:
    """Return what was found before under a key, or find it now; without a key nothing is remembered.

    `write` makes plain values of what was found, and `read` makes it again of these. A damaged entry is made anew.
    """
    name = None if key is None else f"{key}.{FORM}.{what}.json"
    kept = None if name is None else disk_cache.read_value(name, read)
    if kept is not None:
        return kept
    found = find()
    if name is not None:
        disk_cache.write(name, json.dumps(write(found)).encode())
    return found


def make_key(box: Any) -> str | None:
    """Make a name of a torch box and of what was said of it; None where its code cannot be told from another's."""
    with suppress(Exception):  # whatever cannot be hashed is found anew
        code, inside = disk_cache.hash_code(box.module), _hash_attributes(box.module)
        if code is not None and inside is not None:
            said = (sorted(box.given), sorted(box.published.items()), box.class_count, box.batch)
            return disk_cache.make_key(box.fingerprint, code, inside, box.size, said)
    return None


def _hash_attributes(module: nn.Module) -> str | None:
    """Hash what modules hold beside weights and modules; a function of the user's own may do anything."""
    held = {
        name: {key: value for key, value in vars(inner).items() if key not in KEPT_APART and not _is_plain(value)}
        for name, inner in module.named_modules()
    }
    held = {name: each for name, each in held.items() if each}
    return hash_value(held) if held else ""


KEPT_APART = frozenset(vars(nn.Module())) - {"training"}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, type(None), nn.Module, Tensor))
