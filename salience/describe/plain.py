"""Values as JSON and pages know them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def to_plain(value: Any) -> Any:
    """Turn a value into what JSON knows; numbers that are not finite become null.

    >>> to_plain({"share": float("nan"), "layers": ("stem", "head")})
    {'share': None, 'layers': ['stem', 'head']}
    """
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
