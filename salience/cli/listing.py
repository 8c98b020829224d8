"""`salience list`: what there is, what it needs, and its settings. The library is imported when something is listed."""

from __future__ import annotations

import json as notation
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from salience.cli import terminal
from salience.cli.console import Console
from salience.cli.options import BOX
from salience.describe.catalogue import recall

if TYPE_CHECKING:
    from collections.abc import Sequence

Json = Annotated[bool, Parameter(negative="", help="print JSON")]
BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}


def make_app() -> App:
    """Make the four lists."""
    made = App(name="list", help="List methods, measures, boxes or classes.", help_format="plaintext")
    for each in (methods, measures, boxes, classes):
        made.command(each)
    return made


def methods(name: str | None = None, /, *, json: Json = False) -> int:
    """List the methods and what each needs of a box; with a NAME, its manual and settings."""
    if name is not None:
        return _show(recall("methods.describe_method", name), json, _make_method_page)
    rows = recall("methods.list_methods")
    return _show(rows, json, lambda rows: _make_table([(row["name"], row["needs"], row["about"]) for row in rows]))


def measures(name: str | None = None, /, *, json: Json = False) -> int:
    """List the measures; with a NAME, its manual, protocols and settings."""
    if name is not None:
        return _show(recall("measures.describe_measure", name), json, _make_measure_page)
    return _show(
        recall("measures.list_measures"), json, lambda rows: _make_table([(row["name"], row["about"]) for row in rows])
    )


def boxes(pattern: str | None = None, /, *, json: Json = False) -> int:
    """List the kinds of boxes; with a PATTERN as in "timm:*resnet*", the boxes of that name."""
    if pattern is not None:
        from salience.describe.boxes import match_boxes

        return _show(match_boxes(pattern), json, "\n".join)
    return _show(recall("boxes.list_kinds"), json, lambda rows: _make_table([(row["kind"], row["about"]) for row in rows]))


def classes(
    pattern: str | None = None, /, *, box: Annotated[str, Parameter(name=BOX)] = "default", json: Json = False
) -> int:
    """List a box's classes; with a PATTERN, as in "*cat*" or "cat", those that match."""
    from salience.describe.boxes import match_classes
    from salience.tasks.load import load

    rows = match_classes(load(box).classes, pattern)
    return _show(rows, json, lambda rows: "\n".join(f"{row['index']:>4}  {row['name']}" for row in rows))


def _make_method_page(facts: dict[str, Any]) -> Any:
    """Print a method's manual; return the table of its settings."""
    from salience.describe.settings import format_default

    console = Console()
    head = f"{facts['name']} (needs {facts['needs']})\n{facts['source']}\n\n{facts['manual']}\n\nSettings"
    console.print(Text(head), soft_wrap=True)
    settings = [
        (each["name"].replace("_", "-"), format_default(each["default"]), each["help"]) for each in facts["settings"]
    ]
    return _make_table([(f"--{name}", default, about) for name, default, about in settings])


def _make_measure_page(facts: dict[str, Any]) -> Any:
    """Print a measure's manual and protocols; return the table of its settings."""
    from salience.describe.measures import describe_needs
    from salience.describe.settings import format_default

    console = Console()
    console.print(Text(f"{facts['name']}\n{facts['source']}\n\n{facts['manual']}\n\nProtocols"), soft_wrap=True)
    name = facts["name"]
    console.print(
        _make_table(
            [(f"{name}/{one['name']}", f"{BETTER[one['better']]}", describe_needs(one)) for one in facts["protocols"]]
        )
    )
    console.print(Text(f"\nSettings, as in {name}/{facts['protocols'][0]['name']}?setting=value"), soft_wrap=True)
    return _make_table([(each["name"], format_default(each["default"]), each["help"]) for each in facts["settings"]])


def _make_table(rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for number in range(len(rows[0]) if rows else 0):
        table.add_column(overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _show(facts: Any, json: bool, write: Any) -> int:
    if json:
        terminal.say(notation.dumps(facts, default=str) + "\n")
    else:
        shown = write(facts)
        Console().print(Text(shown) if isinstance(shown, str) else shown, soft_wrap=isinstance(shown, str))
    return 0
