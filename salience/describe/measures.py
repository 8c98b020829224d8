"""The catalogue of measures: `python -m salience.describe.measures docs/measures.md`. A test compares it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from salience import registry
from salience.cli.listing import default

NEEDS = {"truth": "the object's place", "method": "the method", "gradients": "gradients", "spent": "what the map cost"}
HEAD = """# Measures

<!-- Made by `make docs`; edit the measures' docstrings instead. -->

A measure reads one number off one explained picture.
Its protocol fixes every detail, so a number is printed with it: `deletion/rise-2018`.
A setting changes one detail and is printed too: `deletion/rise-2018?step=448`.
Every measure may look at the box, the image, the target and the map; what it needs besides is said here.
One that needs the method asks it again, at the method's cost.
Where a measure is not defined for a picture its number is NaN, and means leave it out.
`salience list measures NAME` shows what stands below on the command line.

| measure | protocols, the default first | better | needs | in a sentence |
|---|---|---|---|---|
"""


def describe_measure(name: str) -> dict[str, Any]:
    """Describe a measure in plain values."""
    cls = type(registry.make_measure(name))
    known = registry.list_settings(cls)
    made = [cls(protocol=each) for each in get_args(known[0].type)]
    manual = inspect.getdoc(cls) or ""
    return {
        "name": registry.name_of(cls),
        "about": manual.split("\n")[0],
        "source": (inspect.getdoc(inspect.getmodule(cls)) or "").split("\n")[0],
        "manual": manual,
        "protocols": [{"name": each.protocol, "better": each.better, "needs": list(each.needs)} for each in made],
        "settings": [{"name": each.name, "default": each.default, "help": each.help} for each in known[1:]],
    }


def describe_needs(protocol: dict[str, Any]) -> str:
    """Say in words what a protocol needs."""
    return ", ".join(NEEDS[each] for each in protocol["needs"]) or "nothing else"


def write_page() -> str:
    """Write the page."""
    found = [describe_measure(name) for name in registry.list_names("measures")]
    rows = [row for each in found for row in _rows(each)]
    return HEAD + "\n".join([*rows, *map(_section, found)]) + "\n"


def _rows(each: dict[str, Any]) -> Iterator[str]:
    """Write a line for all protocols of one direction and need."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in each["protocols"]:
        alike.setdefault((one["better"], describe_needs(one)), []).append(f"`{one['name']}`")
    for (better, needs), names in alike.items():
        yield f"| [{each['name']}](#{each['name']}) | {', '.join(names)} | {better} | {needs} | {each['about']} |"


def _section(each: dict[str, Any]) -> str:
    said = f"\n## {each['name']}\n\n{each['source']}\n\n```text\n{each['manual']}\n```\n"
    rows = [
        f"| `{one['name']}` | {default(one['default'])} | {one['help'].replace('|', ' or ')} |" for one in each["settings"]
    ]
    return said + ("\n".join(["\n| setting | default | meaning |", "|---|---|---|", *rows]) if rows else "").rstrip()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(write_page(), encoding="utf-8")
