"""The tables of a report as Markdown and as CSV, and numbers as people read them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from statistics import median

from salience.bench.panel import Panel
from salience.bench.statistics import Pair, Summary
from salience.markdown import escape

ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
MARKED = {"best": "**{}**", "equal": "= {}", "": "{}"}


def choose_digits(column: Sequence[Summary]) -> int:
    """Choose decimals for a column: as many as give half an interval two digits that count; none for whole numbers.

    >>> from salience.bench.statistics import Key, Mean
    >>> choose_digits([Summary(Key("shapes", "toy", "deletion"), "rise", "lower", Mean(0.5, 0.25, 0.75, 8), (0, 0), "best")])
    2
    """
    halves = [each.mean.half for each in column if each.mean.half > 1e-6]  # a constant's is rounding
    if not halves:
        return 0 if all(each.mean.mean.is_integer() for each in column if each.mean.n) else 3
    return min(max(1 - math.floor(math.log10(median(halves))), 0), 6)


def format_number(value: float | None, decimals: int = 3) -> str:
    """Write a number; a dash where there is none.

    >>> format_number(-1234.5678, 2), format_number(None)
    ('−1,234.57', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{decimals}f}".replace("-", "−")


def write_markdown(panels: Iterable[Panel], heading: str) -> str:
    """Write one table a panel: rows are methods, columns are measures.

    >>> from salience.bench.statistics import Key, Mean
    >>> best = Summary(Key("shapes", "toy", "deletion"), "rise", "lower", Mean(0.5, 0.25, 0.75, 1), (0, 0), "best")
    >>> rows = [{"method": "rise", "settings": None, "picture": "0001"}]
    >>> panel = Panel("shapes", "toy", ("deletion",), ("rise",), {("deletion", "rise"): best}, rows)
    >>> write_markdown([panel], "a heading").splitlines()[-1]
    '| rise | **0.50 ± 0.25** |'
    """
    parts = ["# Report", escape(heading), EXPLAINED]
    for panel in panels:
        heads = [f"{escape(measure)} {ARROWS[panel.of(measure)[0].better]}".strip() for measure in panel.measures]
        parts += [f"## {escape(panel.title)}", f"N = {panel.pictures} pictures where a cell names no other n."]
        lines = [_write_line(["method", *heads]), _write_line(["---", *["---:"] * len(heads)])]
        decimals = {measure: choose_digits(panel.of(measure)) for measure in panel.measures}
        for method in panel.methods:
            name = f"{escape(method)} (control)" if method in panel.controls else escape(method)
            some = [panel.summaries.get((measure, method)) for measure in panel.measures]
            lines.append(_write_line([name, *(_write_cell(one, decimals, panel.pictures) for one in some)]))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _write_cell(one: Summary | None, decimals: dict[str, int], pictures: int) -> str:
    if one is None or not one.mean.n:
        return "–"
    places = decimals[one.key.measure]
    text = f"{format_number(one.mean.mean, places)} ± {format_number(one.mean.half, places)}"
    return MARKED[one.mark].format(text) + ("" if one.mean.n == pictures else f" (n {one.mean.n})")


def _write_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


FORMULA = ("=", "+", "-", "@", "\t", "\r")
EXPLAINED = (
    "Means over pictures ± half the 95 % bootstrap interval (seeds are averaged first). ↑ higher is better, ↓ lower. "
    "**Bold**: the best; =: cannot be told from the best on the pictures that both have (Wilcoxon's signed ranks, "
    "Holm's correction over all pairs of the column, p > 0.05). Controls look at no box."
)


def write_summaries(panels: Iterable[Panel]) -> str:
    """Write all means as CSV.

    >>> from salience.bench.statistics import Key, Mean
    >>> best = Summary(Key("shapes", "toy", "deletion"), "rise", "lower", Mean(0.5, 0.25, 0.75, 1), (0, 0), "best")
    >>> rows = [{"method": "rise", "settings": None, "picture": "0001"}]
    >>> panel = Panel("shapes", "toy", ("deletion",), ("rise",), {("deletion", "rise"): best}, rows)
    >>> write_summaries([panel]).splitlines()[-1]
    'shapes,toy,deletion,lower,rise,False,1,0.5,0.25,0.75,0,0,best'
    """
    head = (
        "data",
        "box",
        "measure",
        "better",
        "method",
        "control",
        "n",
        "mean",
        "low",
        "high",
        "undefined",
        "failed",
        "mark",
    )
    lines = []
    for panel in panels:
        for one in (one for measure in panel.measures for one in panel.of(measure)):
            about = (*one.key, one.better, one.method, one.method in panel.controls)
            lines.append((*about, one.mean.n, one.mean.mean, one.mean.low, one.mean.high, *one.lost, one.mark))
    return _write_csv(head, lines)


def write_pairs(pairs: Iterable[Pair]) -> str:
    """Write all comparisons as CSV.

    >>> from salience.bench.statistics import Key, Mean
    >>> pair = Pair(Key("shapes", "toy", "deletion"), "rise", "lime", Mean(-0.5, -0.75, -0.25, 8), p=0.01, holm=0.02)
    >>> write_pairs([pair]).splitlines()[-1]
    'shapes,toy,deletion,rise,lime,8,-0.5,-0.75,-0.25,0.01,0.02'
    """
    head = ("data", "box", "measure", "method", "other", "n", "difference", "low", "high", "p", "p_holm")
    lines = [
        [*pair.key, pair.method, pair.other, pair.gap.n, pair.gap.mean, pair.gap.low, pair.gap.high, pair.p, pair.holm]
        for pair in pairs
    ]
    return _write_csv(head, lines)


def _make_cell(value: object) -> object:
    """Leave NaN out, and keep a spreadsheet from taking a name for a formula."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if isinstance(value, float) and math.isnan(value) else value


def _write_csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_make_cell(value) for value in line] for line in lines)
    return file.getvalue()
