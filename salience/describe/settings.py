"""Settings: their names, defaults and help."""

from __future__ import annotations

from dataclasses import MISSING
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from salience import registry
from salience.registry import Setting

PLAIN = {kind.__name__: kind for kind in (bool, int, float, str, NoneType, type(...))} | {"Any": Any}
FORMS: dict[str, Any] = {"Union": Union, "tuple": tuple, "list": list}


def describe_settings(cls: type[Any]) -> list[dict[str, Any]]:
    """Describe the settings of a class in plain values; one without a default has None.

    >>> describe_settings(registry.find_method("occlusion"))[1]["name"]
    'stride'
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
    value = tuple(value) if isinstance(value, list) else value  # as it came out of JSON
    return "-" if value in (None, "") else str(value).lower() if isinstance(value, bool) else str(value)


def write_settings(name: str) -> dict[str, Any]:
    """Write a method's own name and its settings, with their types, as JSON knows them; `read_settings` reads them.

    >>> write_settings("occlusion")["settings"][0]
    {'name': 'window', 'type': 'int', 'help': 'side of the hidden square, in pixels', 'default': 32}
    """
    cls = registry.find_method(name)
    settings = [
        {"name": each.name, "type": _write_type(each.type), "help": each.help}
        | ({} if each.default is MISSING else {"default": each.default})
        for each in registry.list_settings(cls)
    ]
    return {"name": registry.find_name(cls), "settings": settings}


def read_settings(written: list[dict[str, Any]]) -> tuple[Setting, ...]:
    """Read settings.

    >>> read_settings(write_settings("occlusion")["settings"]) == registry.list_settings(registry.find_method("occlusion"))
    True
    """
    return tuple(
        Setting(each["name"], _read_type(each["type"]), each["help"], _freeze(each.get("default", MISSING)))
        for each in written
    )


def _write_type(hint: Any) -> Any:
    """Write a type as its name, or as a list of its form and its parts."""
    form = get_origin(hint)
    if form is None:
        return next((name for name, kind in PLAIN.items() if kind is (type(hint) if hint is ... else hint)), "Any")
    parts = get_args(hint)
    if form is Literal:
        return ["Literal", *parts]
    return ["Union" if form is UnionType else getattr(form, "__name__", "Union"), *map(_write_type, parts)]


def _read_type(written: Any) -> Any:
    if isinstance(written, str):
        return ... if written == "ellipsis" else PLAIN[written]
    form, *parts = written
    if form == "Literal":
        return Literal[tuple(parts)]
    return FORMS[form][tuple(map(_read_type, parts))]


def _freeze(value: Any) -> Any:
    return tuple(map(_freeze, value)) if isinstance(value, list) else value
