"""A run as one page that needs nothing else, with the same tables as CSV and Markdown beside it.

Made of rows, evidence and nothing else, so it can be made again tomorrow; without the evidence it is the tables alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from salience import limits, specs
from salience.bench import curves, evidence, panel, rows, sheets, tables
from salience.bench.panel import Panel
from salience.bench.statistics import Row, Summary
from salience.describe.manual import read_manual
from salience.errors import GridError, SalienceError
from salience.files import write_whole as save

TEMPLATE = Path(__file__).with_name("report.html.j2")
BLANK = re.compile(r"the map (is constant|has values that are not finite)")


def write_report(run: Path, out: Path | None = None) -> Path:
    """Report a run, finished or not; return the page. The tables lie beside it.

    >>> import tempfile
    >>> from salience.bench.journal import Journal
    >>> row = {"data": "shapes", "box": "toy", "measure": "deletion", "better": "lower", "value": 0.25}
    >>> row |= {"cell": "rise", "method": "rise", "seed": 0, "picture": "0001"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cells").mkdir()
    ...     added = Journal(Path(folder, "cells", "rise.jsonl"), "digest").add("0001", [row])
    ...     page = write_report(Path(folder))
    ...     page.name, "shapes on toy" in page.read_text(encoding="utf-8")
    ('report.html', True)
    """
    table = rows.read_rows(run) if run.is_dir() else None
    if table is None or not len(table):
        raise GridError(f"expected a run of `salience bench` with rows at {run}, got none: check the folder")
    out = out or run / "report.html"
    panels, pairs = panel.make_panels(table, run)
    about = _read_header(run)
    heading = "; ".join(
        [*(f"{name} {about[name]}" for name in VERSIONS if name in about), *_list_places(about), *_describe_state(run)]
    )
    save(out.with_suffix(".csv"), tables.write_summaries(panels).encode())
    save(out.with_name("pairs.csv"), tables.write_pairs(pairs).encode())
    save(out.with_suffix(".md"), tables.write_markdown(panels, heading).encode())
    return save(out, _write_page(run, panels, heading).encode())


VERSIONS = ("salience", "torch", "python")


def _list_places(about: dict[str, Any]) -> list[str]:
    return [str(about[key]) for key in ("machine", "started", "begun") if key in about]


def _read_header(run: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(limits.read_text(run / "run.json"))
    except (OSError, ValueError):
        return {}
    return header


def _describe_state(run: Path) -> list[str]:
    """Say that a run is not finished; nothing for one that is."""
    counted = panel.count_progress(run)
    if counted is None or counted[0] >= counted[1]:
        return []
    done, planned = counted
    return [f"not finished: {done:,} of {planned:,} pictures of all cells are there"]


def _write_page(run: Path, panels: Sequence[Panel], heading: str) -> str:
    from jinja2 import Environment, StrictUndefined

    known = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    known.filters |= {"number": tables.format_number}
    grid = run / "grid.toml"
    measures = dict.fromkeys(measure for one in panels for measure in one.measures)
    template = TEMPLATE.read_text(encoding="utf-8")
    return known.from_string(template).render(
        policy=_make_policy(template),
        heading=heading,
        state=_describe_state(run),
        measures=[(each, _find_idea(each)) for each in measures],
        views=[_make_view(run, one) for one in panels],
        notes=_group_notes([row for one in panels for row in one.rows]),
        grid=limits.read_text(grid) if grid.exists() else "",
        wide=max(len(one.methods) for one in panels),
        chart=curves,
    )


def _make_policy(template: str) -> str:
    """Say what the page may load: its own styles, its own script by its hash, pictures that lie in it."""
    script = template.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _make_view(run: Path, one: Panel) -> dict[str, Any]:
    """Collect what the page shows of a panel."""
    seen = evidence.summarise_evidence(run, one)
    columns = [one.of(measure) for measure in one.measures]
    return {
        "panel": one,
        "heads": [
            (*measure.partition("/")[::2], tables.ARROWS[column[0].better])
            for measure, column in zip(one.measures, columns, strict=True)
        ],
        "lines": [[_make_cell(one, method, column) for column in columns] for method in one.methods],
        "costs": panel.average_costs(one),
        "seen": seen,
        "charts": [curves.make_chart(measure, found) for measure, found in seen.curves.items() if found] if seen else [],
        "strips": sheets.draw_strips(run, one) if seen else [],
        "extremes": sheets.find_extremes(run, one) if seen else None,
    }


def _make_cell(one: Panel, method: str, column: Sequence[Summary]) -> dict[str, Any]:
    """Write a number of the table, with how good it is among the methods: 0 the worst, 1 the best; controls may be worse."""
    summary = one.summaries.get((column[0].key.measure, method))
    means = [each.mean.mean for each in column if each.mean.n and each.method not in one.controls]
    if summary is None or not summary.mean.n or not means:
        return {"summary": summary, "shade": 0.0, "digits": 3}
    low, high = min(means), max(means)
    share = min(max((summary.mean.mean - low) / (high - low), 0.0), 1.0) if high > low else 0.0
    shade = {"higher": share, "lower": 1 - share}.get(summary.better, 0.0) if high > low else 0.0
    return {"summary": summary, "shade": round(shade, 3), "digits": tables.choose_digits(column)}


def _find_idea(measure: str) -> str:
    """Return the first sentences of a measure's manual; nothing where it is not installed here."""
    try:
        manual = read_manual(type(specs.make_measure(measure)))
    except (SalienceError, ImportError):
        return ""
    return " ".join(manual.split("\n\n")[0].split())


def _group_notes(all_rows: Iterable[Row]) -> list[tuple[str, str, int, str]]:
    """Group what went wrong or was noted by its sentence: what it is, the sentence, how often, and of which methods."""
    methods = defaultdict[tuple[str, str], list[str]](list)
    noted = set()
    for row in all_rows:
        if row["failure"]:
            methods[f"failed: {row['measure'] or 'explaining'}", row["failure"]].append(row["method"])
        where = (row["cell"], row["picture"])
        if row["notes"] and where not in noted:
            noted.add(where)
            for note in row["notes"].split("; "):
                kind = "blank map" if BLANK.match(note) else "note"
                methods[kind, re.sub(r" \(\S+ everywhere\)", "", note) if kind == "blank map" else note].append(
                    row["method"]
                )
    return [(*key, len(names), ", ".join(sorted(set(names)))) for key, names in sorted(methods.items())]
