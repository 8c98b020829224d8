"""`salience bench`."""

from __future__ import annotations

import json as notation
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from salience.cli import terminal

if TYPE_CHECKING:
    from salience.bench.grid import Cell, Grid


def bench(
    grid: Annotated[Path, Parameter(help="a grid file (TOML): methods, boxes, data, measures, seeds")],
    /,
    *,
    out: Annotated[Path, Parameter(help="the folder for rows and evidence; a run that is there goes on")],
    workers: Annotated[int, Parameter(help="processes, which share the cores")] = 1,
    only: Annotated[list[str] | None, Parameter(help="cells whose names hold this text", negative="")] = None,
    dry_run: Annotated[bool, Parameter(negative="", help="print cells, passes and expected time; run nothing else")] = False,
    trust: Annotated[bool, Parameter(negative="", help="let the grid name boxes that run code, as py: does")] = False,
    json: Annotated[bool, Parameter(negative="", help="print JSON")] = False,
) -> int:
    """Explain and measure a grid of methods, boxes and data; killed at any moment, it goes on where it was.

    `--dry-run` tries each cell on its first picture, which is how it knows passes and time.
    """
    from salience import limits
    from salience.bench import grid as grids
    from salience.bench.runner import run_grid
    from salience.cli.extras import expect_extra

    expect_extra("bench", "pyarrow", "jinja2", "scipy")
    made = grids.read_grid(grid, trust=trust)
    cells = grids.select_cells(made, only or [])
    if dry_run:
        return _print_estimate(made, cells, out, json=json)
    with _show_progress() as tick:
        file = run_grid(made, cells, out, workers=workers, text=limits.read_text(grid), tick=tick)
    _print_result(out, file, json=json)
    return 0


def _print_estimate(grid: Grid, cells: tuple[Cell, ...], out: Path, *, json: bool) -> int:
    """Print what a run would take."""
    import tempfile

    from rich.table import Table

    from salience.bench.runner import estimate_cost
    from salience.cli.console import Console

    with tempfile.TemporaryDirectory() as aside, _show_progress() as tick:  # nothing is left in a folder that had no run
        place = out if (out / "cells").is_dir() else Path(aside)
        found = []
        for done, cell in enumerate(cells):
            if tick is not None:
                tick(done, len(cells))
            found.append(estimate_cost(grid, cell, place))
    rows = [(each.cell.name, each.pictures, each.pictures * each.passes, each.pictures * each.seconds) for each in found]
    pictures, passes, seconds = (sum(column) for column in list(zip(*rows, strict=True))[1:])
    if json:
        said = [dict(zip(("cell", "pictures", "passes", "seconds"), row, strict=True)) for row in rows]
        terminal.say(notation.dumps({"cells": said, "passes": passes, "seconds": seconds}) + "\n")
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_footer=True)
    feet = (f"{len(rows)} cells", f"{pictures:,}", f"{passes:,}", _format_time(seconds))
    for head, foot in zip(("cell", "pictures", "passes", "time"), feet, strict=True):
        table.add_column(head, footer=foot, justify="left" if head == "cell" else "right", no_wrap=True)
    for name, count, cost, time in rows:
        table.add_row(name, f"{count:,}", f"{cost:,}", _format_time(time))
    Console().print(table, soft_wrap=True)
    return 0


def _format_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _print_result(out: Path, file: Path, *, json: bool) -> None:
    import pyarrow.compute as pc

    from salience.bench import rows

    table = rows.read_rows(file)
    failed = len(table) - int(pc.sum(pc.is_null(table["failure"])).as_py() or 0)
    if json:
        terminal.say(notation.dumps({"rows": len(table), "failures": failed, "file": str(file)}) + "\n")
        return
    said = f"{len(table):,} rows, {failed} of them failures, in {file}\nNext: salience report {out}\n"
    terminal.say(said)


@contextmanager
def _show_progress() -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar with the time left on standard error; nothing where nobody watches."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from salience.cli.console import Console

    console = Console(err=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("units", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
