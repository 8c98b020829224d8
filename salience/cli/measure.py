"""`salience measure`."""

from __future__ import annotations

import json as notation
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from salience.cli import terminal
from salience.cli.options import BOX

if TYPE_CHECKING:
    from salience.explanation import Explanation
    from salience.tasks.measure import Measurement

MEASURES = "deletion,insertion,average-drop,increase,sparsity"


def measure(
    *given: Annotated[str, Parameter(help="explanations (.salience), or pictures to explain first")],
    measures: Annotated[str, Parameter(help="what to measure, with commas (`salience list measures`)")] = MEASURES,
    box: Annotated[str, Parameter(name=BOX, help="the classifier that was explained")] = "default",
    method: Annotated[str | None, Parameter(help="how pictures are explained")] = None,
    target: Annotated[str, Parameter(help="the class that pictures are explained for")] = "predicted",
    budget: Annotated[str | None, Parameter(help="what explaining a picture may cost")] = None,
    picture: Annotated[str | None, Parameter(help="the photograph of an explanation that was saved without it")] = None,
    truth: Annotated[str | None, Parameter(help="a mask of where the object is, white on black, of one picture")] = None,
    seed: Annotated[int, Parameter(help="of explaining pictures")] = 0,
    batch: Annotated[int | None, Parameter(help="images a pass through the box")] = None,
    trust: Annotated[bool, Parameter(negative="", help="let explanations name boxes that run code, as py: does")] = False,
    json: Annotated[bool, Parameter(negative="", help="print one JSON object a file")] = False,
) -> int:
    """Measure explanations: each figure with the protocol that it was taken by."""
    from salience.cli import files
    from salience.errors import SettingError
    from salience.explanation import Explanation
    from salience.tasks import measure as task
    from salience.tasks.explain import explain
    from salience.tasks.load import load

    wanted = [each for each in measures.split(",") if each]
    task.make_measures(wanted)
    named = list(given) or [str(files.SAMPLE)]
    for what, only in (("truth", truth), ("photograph", picture)):
        if only is not None and len(named) > 1:
            raise SettingError(f"expected one picture for a {what}, got {len(named)}: measure them one by one")
    made = load(box)
    for name in named:
        if name.endswith(".salience"):
            why = Explanation.load(name)
            why = why if picture is None else why.with_photograph(picture)
        else:
            why = explain(made, name, method, target=target, budget=budget, seed=seed, batch=batch)
        figures = task.measure(made, why, wanted, truth=truth, batch=batch, trust=trust or not name.endswith(".salience"))
        _print_figures(name, why, figures, json=json)
    return 0


def _print_figures(name: str, why: Explanation, figures: list[Measurement], *, json: bool) -> None:
    """Print the figures of one explanation."""
    from rich.table import Table

    from salience.cli.console import Console
    from salience.cli.terminal import clean_line
    from salience.describe.plain import to_plain

    if json:
        rows = [{key: value for key, value in vars(each).items() if key != "evidence"} for each in figures]
        about = {"image": name, "method": why.called, "target": why.target.name, "box": why.box["name"]}
        terminal.say(notation.dumps(to_plain(about | {"figures": rows})) + "\n")
        sys.stdout.flush()
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=clean_line(f"{name}: {why!r}"), title_justify="left")
    for head in ("measure", "value", "better", "passes", "seconds"):
        table.add_column(head, justify="left" if head in ("measure", "better") else "right", no_wrap=True)
    for each in figures:
        table.add_row(each.protocol, f"{each.value:.4f}", each.better, f"{each.passes:,}", f"{each.seconds:.2f}")
    Console().print(table, soft_wrap=True)
