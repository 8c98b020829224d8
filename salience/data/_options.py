"""Options of a data set, given as values or as text of a spec."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from salience.case import Data
from salience.engine import validate
from salience.errors import SettingError, UnknownName

TRUE, FALSE = ("yes", "true", "1", "on"), ("no", "false", "0", "off")


def expect_known(load: Callable[..., Data], unknown: Mapping[str, Any]) -> None:
    """Name an option that a kind does not have, with close matches."""
    for each in unknown:
        known = [name for name, one in inspect.signature(load).parameters.items() if one.kind is one.KEYWORD_ONLY]
        raise UnknownName.of(f"setting of {load.__module__.rpartition('.')[2]}:", each, known)


def read_flag(name: str, value: Any) -> bool:
    """Read yes or no."""
    text = str(value).lower()
    if text not in (*TRUE, *FALSE):
        raise SettingError(f"expected yes or no for {name}, got {value!r}")
    return text in TRUE


def read_number(name: str, value: Any, low: float, high: float | None = None, *, whole: bool = False) -> float:
    """Read a number within bounds."""
    try:
        found = int(str(value)) if whole else float(str(value))
    except (TypeError, ValueError):
        said = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}…"
        raise SettingError(f"expected a {'whole ' if whole else ''}number for {name}, got {said}") from None
    validate.expect_between(name, found, low, high)
    return found


def write_spec(kind: str, name: Any, **options: Any) -> str:
    """Write the spec that opens a data set again; None is an option that was not given."""
    given = {key: str(value).lower() if isinstance(value, bool) else value for key, value in options.items()}
    query = urlencode({key: value for key, value in given.items() if value is not None}, safe=",:/;=")
    return f"{kind}:{name}" + (f"?{query}" if query else "")
