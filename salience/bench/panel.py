"""A table of a report: all measures of all methods on one box over one data set, in the order in which they are read."""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salience import limits, specs
from salience.bench import grid as grids
from salience.bench import places, statistics
from salience.bench.controls import CONTROLS
from salience.bench.journal import count_pictures
from salience.bench.selection import read_choice
from salience.bench.statistics import LEVEL, Pair, Row, Summary
from salience.errors import SalienceError
from salience.tasks.measure import make_measures

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Panel:
    """One box over one data set.

    >>> Panel("shapes", "toy", ("deletion",), ("rise",), {}, []).title
    'shapes on toy'
    """

    data: str
    box: str
    measures: tuple[str, ...]  # in the order of the grid
    methods: tuple[str, ...]  # the best by the first measure first, controls last
    summaries: Mapping[tuple[str, str], Summary]  # by measure and method
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        """Say what it is about."""
        return f"{self.data} on {self.box}"

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """Name the methods that look at no box."""
        settings = {row["method"]: row["settings"] for row in self.rows}
        return tuple(each for each in self.methods if json.loads(settings[each] or "{}").get("name", each) in CONTROLS)

    @cached_property
    def pictures(self) -> int:
        """Count the pictures."""
        return len({row["picture"] for row in self.rows})

    @property
    def wanted(self) -> int:
        """Count the pictures it takes until signed ranks can tell any two methods apart, after Holm's correction."""
        pairs = len(self.methods) * (len(self.methods) - 1) / 2
        return math.ceil(1 + math.log2(pairs / LEVEL)) if pairs else 0

    def of(self, measure: str) -> list[Summary]:
        """Return a column, where it has something."""
        return [self.summaries[measure, method] for method in self.methods if (measure, method) in self.summaries]

    @property
    def hollow(self) -> list[str]:
        """Name the measures by which a control is best, or cannot be told from the best."""
        marked = [(each, {one.method for one in self.of(each) if one.mark}) for each in self.measures]
        return [measure for measure, methods in marked if methods & set(self.controls)]


def make_panels(table: pa.Table, run: Path) -> tuple[list[Panel], list[Pair]]:
    """Make the tables of a run, and all comparisons of two methods.

    >>> import pyarrow as pa
    >>> row = {"data": "shapes", "box": "toy", "measure": "deletion", "better": "lower", "failure": None}
    >>> row |= {"method": "rise", "settings": None, "picture": "0001", "value": 0.25}
    >>> (panel,), pairs = make_panels(pa.Table.from_pylist([row]), Path("run"))
    >>> panel.title, panel.of("deletion")[0].mean.mean
    ('shapes on toy', 0.25)
    """
    rows = defaultdict[tuple[str, str], list[Row]](list)
    for row in table.to_pylist():
        rows[row["data"], row["box"]].append(row)
    summaries, pairs = defaultdict[tuple[str, str], list[Summary]](list), []
    for column in statistics.make_columns(table):
        comparisons = statistics.compare_pairs(column)
        pairs += comparisons
        summaries[column.key.data, column.key.box] += statistics.summarise(column, comparisons)
    order = _list_measures(run)
    return [_make_panel(place, rows[place], summaries[place], order) for place in sorted(rows)], pairs


def _make_panel(place: tuple[str, str], rows: Sequence[Row], summaries: Iterable[Summary], order: Sequence[str]) -> Panel:
    by = {(each.key.measure, each.method): each for each in summaries}
    known = sorted({measure for measure, _ in by})
    measures = tuple(sorted(known, key=lambda each: order.index(each) if each in order else len(order)))
    methods = tuple(sorted({row["method"] for row in rows}))
    plain = Panel(*place, measures, methods, by, rows)

    def rank(method: str) -> tuple[bool, bool, float]:
        one = by.get((measures[0], method)) if measures else None
        if one is None or not one.mean.n:
            return method in plain.controls, True, 0.0
        return method in plain.controls, False, one.mean.mean if one.better == "lower" else -one.mean.mean

    return Panel(*place, measures, tuple(sorted(methods, key=rank)), by, rows)


def _list_measures(run: Path) -> list[str]:
    """List the measures as the grid does; a grid that cannot be read any more does not matter here."""
    try:
        measures = tomllib.loads(limits.read_text(run / "grid.toml")).get("measures", grids.MEASURES)
        return [specs.write_measure(each) for each in make_measures(measures)]
    except (OSError, ValueError, SalienceError):
        return []


def count_progress(run: Path) -> tuple[int, int] | None:
    r"""Count the pictures of all cells, done and planned; None where the grid cannot be read any more.

    >>> import tempfile
    >>> text = 'methods.rise = {}\nboxes.toy = "toy:colour"\ndata.shapes = "shapes:plain"\ncontrols = false'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = Path(folder, "grid.toml").write_text(text, encoding="utf-8")
    ...     count_progress(Path(folder))  # a cell whose pictures are not chosen yet counts as one
    (0, 1)
    """
    try:
        grid = grids.parse_grid(tomllib.loads(limits.read_text(run / "grid.toml")))
        done = planned = 0
        for cell in grid.cells:
            choice = read_choice(places.find_selection(run, cell.box.label, cell.data.label))
            planned += 1 if choice is None else len(choice.chosen)
            journal = places.find_journal(run, cell)
            done += count_pictures(journal) if journal.exists() else 0
    except (OSError, ValueError, SalienceError):
        return None
    return done, planned


def average_costs(panel: Panel) -> list[dict[str, Any]]:
    """Average what a map took of each method, one a picture and seed, and how steady it was.

    >>> row = {"method": "rise", "cell": "rise", "picture": "0001", "map_passes": 100, "map_seconds": 0.5, "stability": None}
    >>> average_costs(Panel("shapes", "toy", (), ("rise",), {}, [row]))
    [{'method': 'rise', 'n': 1, 'map_passes': 100.0, 'map_seconds': 0.5, 'stability': None}]
    """
    averages = []
    for method, rows in itertools.groupby(sorted(panel.rows, key=lambda row: row["method"]), lambda row: row["method"]):
        maps = {(row["cell"], row["picture"]): row for row in rows if row["map_passes"] is not None}
        average: dict[str, Any] = {"method": method, "n": len(maps)}
        for key in ("map_passes", "map_seconds", "stability"):
            known = [each[key] for each in maps.values() if each[key] is not None]
            average[key] = sum(known) / len(known) if known else None
        averages.append(average)
    return sorted(averages, key=lambda average: panel.methods.index(average["method"]))
