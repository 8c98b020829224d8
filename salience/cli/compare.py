"""`salience compare`."""

from __future__ import annotations

import json as notation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from salience.cli import terminal

if TYPE_CHECKING:
    from salience.bench.compare import Change, Comparison


def compare(
    a: Annotated[Path, Parameter(help="a run's folder, or its rows as Parquet: how it was")],
    b: Annotated[Path, Parameter(help="another: how it is")],
    /,
    *,
    drift: Annotated[float, Parameter(help="how much worse a mean may become, in the measure's own unit")] = 0.05,
    allow_missing: Annotated[bool, Parameter(negative="", help="compare what both have; one may lack the rest")] = False,
    json: Annotated[bool, Parameter(negative="", help="print one JSON object a line of the table")] = False,
) -> int:
    """Compare two runs picture by picture; exit code 1 if a measure became worse by more than --drift, and not by chance.

    So it does where one run has rows that the other lacks. Where neither direction of a measure is better, a change in
    either is a drift.
    """
    from salience.bench import compare as compared
    from salience.cli.extras import expect_extra
    from salience.errors import SettingError

    expect_extra("bench", "pyarrow", "scipy")
    if not drift >= 0:
        raise SettingError(f"expected a --drift of 0 or more, got {drift:g}")
    comparison = compared.compare(a, b)
    worse = comparison.list_worse(drift)
    for change in comparison.changes if json else ():
        terminal.say(notation.dumps(_collect_facts(change, worse=change in worse)) + "\n")
    if not json:
        _print_table(comparison, worse)
    _print_notes(comparison, worse, drift)
    missing = any(comparison.unpaired) and not allow_missing
    if missing:
        terminal.tell("salience: expected the same rows in A and B, got these: run what is missing, or --allow-missing\n")
    return 1 if worse or missing else 0


def _collect_facts(change: Change, *, worse: bool) -> dict[str, object]:
    from salience.describe.plain import to_plain

    gap = change.gap
    facts = change.kind._asdict() | {"better": change.better, "n": gap.n, "a": change.means[0], "b": change.means[1]}
    facts |= {"difference": gap.mean, "low": gap.low, "high": gap.high, "p": change.p, "p_holm": change.holm}
    plain: dict[str, object] = to_plain(facts | {"drift": change.drift, "drifted": worse})
    return plain


def _print_table(comparison: Comparison, worse: list[Change]) -> None:
    from rich.table import Table

    from salience.bench.tables import ARROWS
    from salience.cli.console import Console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("box", "data", "measure", "method"):
        table.add_column(head, no_wrap=True)
    for head in ("n", "A", "B", "B − A", "95 % interval", "p", "p (Holm)", ""):
        table.add_column(head, justify="right", no_wrap=True)
    for each in comparison.changes:
        box, data, measure, method = each.kind
        gap = each.gap
        cells = [f"{value:.4f}" for value in each.means] + [f"{gap.mean:+.4f}", f"{gap.low:+.4f} … {gap.high:+.4f}"]
        last = [f"{each.p:.3g}", f"{each.holm:.3g}", "drift" if each in worse else ""]
        table.add_row(box, data, f"{measure} {ARROWS[each.better]}", method, f"{gap.n:,}", *cells, *last)
    Console(width=1000).print(table, soft_wrap=True)  # a line stays one line, in a pipe too


def _print_notes(comparison: Comparison, worse: list[Change], most: float) -> None:
    """Say in words what the table does not."""
    said = [
        f"{box} is another model: fingerprint {one} in A, {other} in B" for box, (one, other) in comparison.models.items()
    ]
    if any(comparison.unpaired):
        said.append(
            f"left out: {comparison.unpaired[0]:,} rows with a value in A only, {comparison.unpaired[1]:,} in B only"
        )
    if worse:
        names = [f"{each.kind.measure} of {each.kind.method} on {each.kind.box} ({each.gap.mean:+.4f})" for each in worse]
        said.append(f"drift of more than {most:g}: {', '.join(names)}")
    terminal.tell("".join(f"salience: {line}\n" for line in said))
