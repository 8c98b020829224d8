"""Print an explanation."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from salience.cli.console import Console
from salience.cli.terminal import clean_line
from salience.describe.explanation import (
    describe_backend,
    describe_evidence,
    describe_seen,
    describe_stability,
)
from salience.explanation import Explanation


def print_explanation(console: Console, why: Explanation, image: str, files: list[str]) -> None:
    """Say what was found, to a person."""

    def line(name: str, text: str, style: str = "") -> None:
        console.print(
            Text(f"  {name:<10}", "dim").append(clean_line(text), style or "not dim"), soft_wrap=True, highlight=False
        )

    console.print(Text(clean_line(image), "bold"), soft_wrap=True)
    line("box", f"{why.box['name']}, {describe_backend(why.box)}, on {why.box['device']}")
    for found in why.box.get("found", ()):
        line(found["about"], found["said"])
    line("it saw", f"{describe_seen(why)}: {why.box['preprocessing']}")
    console.print(_make_table(why))
    if why.target.index is None:
        line("target", f"{why.target.name}: {why.target.probability:+.3f}")
    for note in why.notes:
        line("NOTE", note, "bold yellow")
    line("evidence", describe_evidence(why))
    if why.bands is not None:
        line("bands", str(why.bands))
    rate = f", {why.passes / why.seconds:,.0f} a second" if why.seconds > 0 else ""
    line("cost", f"{why.called}: {why.passes:,} pass{'es' * (why.passes != 1)} in {why.seconds:.1f} s{rate}")
    if why.layers:
        line("layers", ", ".join(why.layers))
    line("stability", describe_stability(why.stability))
    for number, file in enumerate(files):
        line("" if number else "files", file)


def _make_table(why: Explanation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for score in why.top5:
        explained = score.index == why.target.index
        style = "bold" if explained else ""
        table.add_row(
            "  →" if explained else "", Text(why.write_score(score.probability), style), Text(clean_line(score.name), style)
        )
    if why.target.index is not None and all(score.index != why.target.index for score in why.top5):
        table.add_row(
            "  →", Text(why.write_score(why.target.probability), "bold"), Text(clean_line(why.target.name), "bold")
        )
    return table
