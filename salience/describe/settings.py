"""Settings: their names, defaults and help."""

from __future__ import annotations

from dataclasses import MISSING
from typing import Any

from salience import registry


def describe_settings(cls: type[Any]) -> list[dict[str, Any]]:
    """Describe the settings of a class in plain values; one without a default has None.

    >>> describe_settings(registry.find_method("occlusion"))[1]["name"]
    """
    return [
        {"name": each.name, "default": None if each.default is MISSING else each.default, "help": each.help}
        for each in registry.list_settings(cls)
    ]


def format_default(value: Any) -> str:
    """Write the default of a setting; what has none is a dash.

    >>> format_default(True), format_default(None), format_default(4000)
    ('true', '-', '4000')
    """
    return "-" if value in (None, "") else str(value).lower() if isinstance(value, bool) else str(value)
