"""Two runs against each other, picture by picture: what has become worse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from salience.bench import rows, significance
from salience.bench.significance import Mean
from salience.case import Better
from salience.errors import GridError

if TYPE_CHECKING:
    import pyarrow as pa


class Kind(NamedTuple):
    """What a line of a comparison is about.

    >>> Kind("toy:colour", "shapes:plain", "deletion/auc", "rise").method
    'rise'
    """

    box: str
    data: str
    measure: str
    method: str


@dataclass(frozen=True)
class Change:
    """A method's mean in run A and in run B, over the pictures that both have.

    >>> kind = Kind("toy:colour", "shapes:plain", "deletion/auc", "rise")
    >>> Change(kind, "lower", (0.25, 0.5), Mean(0.25, 0.125, 0.375, 8), p=0.01, holm=0.02).drift
    0.25
    """

    kind: Kind
    better: str
    means: tuple[float, float]
    gap: Mean  # B - A, a mean over pictures
    p: float
    holm: float  # corrected over the methods of a box, data and measure

    @property
    def drift(self) -> float:
        """How much worse B is; either way where neither direction is better."""
        return {"higher": -self.gap.mean, "lower": self.gap.mean}.get(self.better, abs(self.gap.mean))


@dataclass(frozen=True)
class Comparison:
    """All changes, and what could not be compared.

    >>> kind = Kind("toy:colour", "shapes:plain", "deletion/auc", "rise")
    >>> change = Change(kind, "lower", (0.25, 0.5), Mean(0.25, 0.125, 0.375, 8), p=0.01, holm=0.02)
    >>> Comparison((change,), (0, 0), {}).list_worse(most=0.1) == [change]
    True
    """

    changes: tuple[Change, ...]
    unpaired: tuple[int, int]  # rows with a value that only A, only B has
    models: Mapping[str, tuple[str, str]]  # boxes with other fingerprints in A and B

    def list_worse(self, most: float) -> list[Change]:
        """Pick what became worse by more than `most`, and not by chance: the interval leaves zero out."""
        return [each for each in self.changes if each.drift > most and each.gap.sure]


def compare(one: Path, other: Path) -> Comparison:
    """Pair the rows of two runs by method, box, data, picture, seed and measure, and average seeds, then pictures.

    >>> import tempfile
    >>> from salience.bench.journal import Journal
    >>> row = {"box": "toy", "data": "shapes", "measure": "deletion", "method": "rise", "better": "lower", "seed": 0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for run, value in (("a", 0.25), ("b", 0.5)):
    ...         line = row | {"picture": "0001", "value": value}
    ...         Path(folder, run, "cells").mkdir(parents=True)
    ...         added = Journal(Path(folder, run, "cells", "rise.jsonl"), "digest").add("0001", [line])
    ...     compare(Path(folder, "a"), Path(folder, "b")).changes[0].drift
    0.25
    """
    tables = rows.read_rows(one), rows.read_rows(other)
    first, second = (_list_values(table) for table in tables)
    both = first.keys() & second.keys()
    if not both:
        raise GridError(f"expected runs with rows in common, got none in {one} and {other}: were they of one grid?")
    pairs = defaultdict[Kind, defaultdict[str, list[tuple[float, float]]]](lambda: defaultdict(list))
    for kind, picture, seed in sorted(both):
        pairs[kind][picture].append((first[kind, picture, seed], second[kind, picture, seed]))
    better = {_make_kind(row): _expect_direction(row) for table in tables for row in _select_rows(table, "better")}
    unpaired = len(first.keys() - both), len(second.keys() - both)
    return Comparison(_find_changes(pairs, better), unpaired, _compare_models(*tables))


def _find_changes(
    pairs: Mapping[Kind, Mapping[str, Sequence[tuple[float, float]]]], better: Mapping[Kind, str]
) -> tuple[Change, ...]:
    means = {kind: np.array([np.mean(some, axis=0) for some in by.values()]).T for kind, by in pairs.items()}
    gaps = {kind: b - a for kind, (a, b) in means.items()}
    p = dict(zip(gaps, significance.compare_signed_ranks(list(gaps.values())).tolist(), strict=True))
    holm: dict[Kind, float] = {}
    for family in {kind[:3] for kind in gaps}:
        members = [kind for kind in gaps if kind[:3] == family]
        holm |= dict(zip(members, significance.correct_p_values([p[kind] for kind in members]).tolist(), strict=True))
    sides = {kind: (float(a.mean()), float(b.mean())) for kind, (a, b) in means.items()}
    return tuple(
        Change(kind, better[kind], sides[kind], gap, p[kind], holm[kind])
        for kind, gap in zip(gaps, significance.estimate_means(list(gaps.values())), strict=True)
    )


def _list_values(table: pa.Table) -> dict[tuple[Kind, str, int], float]:
    """Return the values that are there: a row that failed or is not defined has none."""
    return {
        (_make_kind(row), row["picture"], row["seed"]): row["value"]
        for row in _select_rows(table, "picture", "seed", "value")
        if row["value"] is not None and np.isfinite(row["value"])
    }


def _select_rows(table: pa.Table, *names: str) -> list[dict[str, Any]]:
    try:
        selected: list[dict[str, Any]] = table.select([*Kind._fields, *names]).to_pylist()
    except KeyError as problem:
        raise GridError(f"expected rows of `salience bench`, got a table without the column {problem}") from None
    return [row for row in selected if row["measure"] is not None]


def _expect_direction(row: Mapping[str, Any]) -> str:
    if row["better"] not in get_args(Better):
        raise GridError(
            f"expected {row['measure']} to be better higher, lower or neither, got {row['better']!r}: "
            "give rows that `salience bench` wrote"
        )
    return str(row["better"])


def _make_kind(row: Mapping[str, Any]) -> Kind:
    return Kind(*(row[name] for name in Kind._fields))


def _compare_models(one: pa.Table, other: pa.Table) -> dict[str, tuple[str, str]]:
    """Name the boxes that answer otherwise than before."""
    first, second = (
        {row["box"]: row["fingerprint"] for row in _select_rows(table, "fingerprint")} for table in (one, other)
    )
    return {box: (first[box], second[box]) for box in sorted(first.keys() & second.keys()) if first[box] != second[box]}
