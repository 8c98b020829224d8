"""`salience check`: what a box is, before anything is explained."""

from __future__ import annotations

import json as notation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from salience.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM = 10


def check(
    box: Annotated[str, Parameter(help="the classifier, as kind:name (see `salience list boxes`)")],
    picture: Annotated[str | None, Parameter(help="a picture; none given: a sample photograph")] = None,
    /,
    *,
    seconds: Annotated[float, Parameter(help="how long a map may take")] = 2.0,
    out: Annotated[Path | None, Parameter(help="also draw the map into this PNG file")] = None,
    json: Annotated[bool, Parameter(negative="", help="print JSON")] = False,
) -> int:
    """Meet a box and say what was found: what it takes and puts out, its layers, its methods, and a map.

    Run this first for a box of your own, and paste what it prints into a report of a problem.
    """
    from salience.describe.plain import to_plain
    from salience.draw import overlay
    from salience.files import write_whole
    from salience.tasks.check import check_box

    facts, why = check_box(box, picture, seconds=seconds)
    if out is not None:
        write_whole(out, overlay.png(overlay.picture(why)))
    said = notation.dumps(to_plain(facts), allow_nan=False) if json else "\n".join(write_lines(facts))
    terminal.say(f"{said}\n")
    return 0


def write_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Write what was found, a line each."""
    from salience.describe.methods import NEEDS

    yield f"{facts['name']} ({', '.join(f'{name} {number}' for name, number in facts['versions'].items())})"
    for each in facts["found"]:
        yield _line(each["about"], each["said"])
    yield _line("picture", facts["preparation"])
    tried = [f"{name} {_speed(found)}" for name, found in facts["backend"]["tried"].items()]
    yield _line("backend", f"{facts['backend']['chosen']} on {facts['device']}" + f" ({'; '.join(tried)})" * bool(tried))
    yield from _write_layers(facts["layers"])
    yield _line("gradients", _describe_gradients(facts["gradients"]))
    for need, names in sorted(facts["methods"].items()):
        yield _line("methods", f"for {NEEDS[need]}: {', '.join(names)}")
    yield from _write_map(facts["map"])


def _line(name: str, text: str) -> str:
    return f"  {name:<{ROOM}}{text}"


def _speed(speed_up: Any) -> str:
    return f"{speed_up:.1f}×" if isinstance(speed_up, float) else f"no: {speed_up}"


def _write_layers(layers: dict[str, Any] | None) -> Iterator[str]:
    if layers is None or "problem" in layers:
        yield _line("layers", "none to be seen" if layers is None else layers["problem"])
        return
    for each in layers["blocks"]:
        yield _line("layer", _describe_layer(each))
    yield _line("last maps", _describe_layer(layers["top"]))
    if layers["note"]:
        yield _line("NOTE", layers["note"])


def _describe_layer(layer: dict[str, Any]) -> str:
    return f"{layer['name']} ({' × '.join(map(str, layer['shape']))})"


def _describe_gradients(gradients: dict[str, Any] | None) -> str:
    if gradients is None:
        return "none: methods that need only scores explain it"
    return gradients.get("problem") or (
        "the score moves with the pixels" if gradients["move"] else "all 0: the score does not move"
    )


def _write_map(facts: dict[str, Any]) -> Iterator[str]:
    score = f"{facts['score']:.1%}" if 0 <= facts["score"] <= 1 else f"{facts['score']:.4g}"
    steady = "" if facts["stability"] is None else f", stability {facts['stability']:.2f}"
    cost = f"{facts['passes']:,} passes in {facts['seconds']:.1f} s{steady}"
    yield _line("map", f"{facts['method']} of {facts['target']!r} ({score}): {cost}")
    for each in dict.fromkeys((*facts["flaws"], *facts["notes"])):
        yield _line("NOTE", each)
