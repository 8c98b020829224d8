"""The catalogue of measures: `python -m salience.cli.measures_page docs/measures.md`. A test compares it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from salience import registry
from salience.describe.measures import describe_measure, describe_needs
from salience.describe.settings import format_default

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


def write_page() -> str:
    """Write the page."""
    measures = [describe_measure(name) for name in registry.list_names("measures")]
    rows = [row for each in measures for row in _rows(each)]
    return HEAD + "\n".join([*rows, *map(_section, measures)]) + "\n"


def _rows(each: dict[str, Any]) -> Iterator[str]:
    """Write a line for all protocols of one direction and need."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in each["protocols"]:
        alike.setdefault((one["better"], describe_needs(one)), []).append(f"`{one['name']}`")
    for (better, needs), names in alike.items():
        yield f"| [{each['name']}](#{each['name']}) | {', '.join(names)} | {better} | {needs} | {each['about']} |"


def _section(each: dict[str, Any]) -> str:
    text = f"\n## {each['name']}\n\n{each['source']}\n\n```text\n{each['manual']}\n```\n"
    rows = [
        f"| `{setting['name']}` | {format_default(setting['default'])} | {setting['help'].replace('|', ' or ')} |"
        for setting in each["settings"]
    ]
    return text + ("\n".join(["\n| setting | default | meaning |", "|---|---|---|", *rows]) if rows else "").rstrip()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(write_page(), encoding="utf-8")
