"""`salience list`: what there is, what it needs, and its settings. The library is imported when something is listed."""

from __future__ import annotations

import inspect
import json as notation
import sys
from dataclasses import MISSING
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

Json = Annotated[bool, Parameter(negative="", help="print JSON")]
BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}
NEEDS = {"BlackBox": "any box", "GreyBox": "inner layers", "OpenBox": "gradients"}


def app() -> App:
    """Make the three lists."""
    made = App(name="list", help="List methods, measures, boxes or classes.", help_format="plaintext")
    for each in (methods, measures, boxes, classes):
        made.command(each)
    return made


def methods(name: str | None = None, /, *, json: Json = False) -> int:
    """List the methods and what each needs of a box; with a NAME, its manual and settings."""
    from salience import registry

    if name is not None:
        return _show(method(name), json, _manual)
    found = [{key: method(each)[key] for key in ("name", "needs", "about")} for each in registry.list_names("methods")]
    return _show(found, json, lambda rows: _table([(row["name"], row["needs"], row["about"]) for row in rows]))


def measures(name: str | None = None, /, *, json: Json = False) -> int:
    """List the measures; with a NAME, its manual, protocols and settings."""
    from salience import registry
    from salience.describe.measures import describe_measure

    if name is not None:
        return _show(describe_measure(name), json, _measure)
    found = [
        {key: describe_measure(each)[key] for key in ("name", "about", "protocols")}
        for each in registry.list_names("measures")
    ]
    return _show(found, json, lambda rows: _table([(row["name"], row["about"]) for row in rows]))


def boxes(pattern: str | None = None, /, *, json: Json = False) -> int:
    """List the kinds of boxes; with a PATTERN as in "timm:*resnet*", the boxes of that name."""
    from salience import registry

    if pattern is not None:
        return _show(_matching(pattern), json, "\n".join)
    found = [kind(each) for each in registry.list_names("boxes")]
    return _show(found, json, lambda rows: _table([(row["kind"], row["about"]) for row in rows]))


def classes(pattern: str | None = None, /, *, box: str = "default", json: Json = False) -> int:
    """List a box's classes; with a PATTERN, as in "*cat*" or "cat", those that match."""
    from salience import api
    from salience.errors import UnknownName

    named = list(enumerate(api.load(box).classes))
    wanted = pattern and (pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*").lower()
    found = [{"index": index, "name": name} for index, name in named if not wanted or fnmatch(name.lower(), wanted)]
    if not found:
        raise UnknownName.of("class", str(pattern), [part.strip() for _, name in named for part in name.split(",")])
    return _show(found, json, lambda rows: "\n".join(f"{row['index']:>4}  {row['name']}" for row in rows))


def method(name: str) -> dict[str, Any]:
    """Describe a method in plain values."""
    from salience import registry

    cls = registry.find_method(name)
    settings = [
        {"name": each.name, "default": None if each.default is MISSING else each.default, "help": each.help}
        for each in registry.list_settings(cls)
    ]
    manual = inspect.getdoc(cls) or ""
    source = (inspect.getdoc(inspect.getmodule(cls)) or "").splitlines()[:1]
    facts = {"name": registry.name_of(cls), "needs": NEEDS[registry.need_of(cls).__name__], "about": manual.split("\n")[0]}
    return facts | {"source": " ".join(source), "manual": manual, "settings": settings}


def kind(name: str) -> dict[str, Any]:
    """Describe a kind of boxes: what its module says first, and the boxes themselves where they are few."""
    module = _module(name)
    about = (inspect.getdoc(module) or inspect.getdoc(module.load) or "").split("\n")[0]
    few = [] if name in ("timm", "torchvision") else [f"{name}:{each}" for each in getattr(module, "names", tuple)()]
    return {"kind": name, "about": about, "boxes": few}


def _matching(pattern: str) -> list[str]:
    from salience import registry
    from salience.errors import UnknownName

    name, _, rest = pattern.partition(":")
    if name not in registry.list_names("boxes"):
        raise UnknownName.of("box kind (kind:name)", pattern, registry.list_names("boxes"))
    known = [f"{name}:{each}" for each in getattr(_module(name), "names", tuple)()]
    found = [each for each in known if fnmatch(each, f"{name}:{rest or '*'}")]
    if not found:
        raise UnknownName.of("box", pattern, known, f"a kind without a list of names: {kind(name)['about']}")
    return found


def _module(name: str) -> ModuleType:
    from importlib import import_module
    from importlib.metadata import entry_points

    for point in entry_points(group="salience.boxes"):
        if point.name == name:
            found: ModuleType = point.load()
            return found
    return import_module(f"salience.boxes.{name}")


def _manual(facts: dict[str, Any]) -> Any:
    """Print a method's page."""
    console = Console(file=sys.stdout)
    head = f"{facts['name']} (needs {facts['needs']})\n{facts['source']}\n\n{facts['manual']}\n\nSettings"
    console.print(Text(head), soft_wrap=True)
    rows = [("--" + each["name"].replace("_", "-"), default(each["default"]), each["help"]) for each in facts["settings"]]
    return _table(rows)


def _measure(facts: dict[str, Any]) -> Any:
    """Print a measure's page."""
    from salience.describe.measures import describe_needs

    console = Console(file=sys.stdout)
    console.print(Text(f"{facts['name']}\n{facts['source']}\n\n{facts['manual']}\n\nProtocols"), soft_wrap=True)
    name = facts["name"]
    console.print(
        _table([(f"{name}/{one['name']}", f"{BETTER[one['better']]}", describe_needs(one)) for one in facts["protocols"]])
    )
    console.print(Text(f"\nSettings, as in {name}/{facts['protocols'][0]['name']}?setting=value"), soft_wrap=True)
    return _table([(each["name"], default(each["default"]), each["help"]) for each in facts["settings"]])


def default(value: Any) -> str:
    """Say a default."""
    return "-" if value in (None, "") else str(value).lower() if isinstance(value, bool) else str(value)


def _table(rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for number in range(len(rows[0]) if rows else 0):
        table.add_column(overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _show(found: Any, json: bool, drawn: Any) -> int:
    if json:
        sys.stdout.write(notation.dumps(found, default=str) + "\n")
    else:
        shown = drawn(found)
        Console(file=sys.stdout).print(Text(shown) if isinstance(shown, str) else shown, soft_wrap=isinstance(shown, str))
    return 0
