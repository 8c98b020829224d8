"""From rows to tables: each method's mean for each measure, and which methods differ on the pictures that both have.

A picture counts once: its seeds are averaged first.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from salience.bench import significance
from salience.bench.significance import Mean, Values

if TYPE_CHECKING:
    import pyarrow as pa

LEVEL = 0.05
Mark = Literal["best", "equal", ""]
Row = Mapping[str, Any]


class Key(NamedTuple):
    """What a column of a table is about.

    >>> Key("shapes", "toy", "deletion").measure
    'deletion'
    """

    data: str
    box: str
    measure: str


@dataclass(frozen=True)
class Column:
    """One measure on one box over one data set.

    >>> values = {"rise": np.array([0.1, 0.2]), "lime": np.array([0.3, np.nan])}
    >>> column = Column(Key("shapes", "toy", "deletion"), "lower", ("0001", "0002"), values, {"lime": 1}, {})
    >>> column.undefined
    {'lime': 1}
    """

    key: Key
    better: str
    pictures: tuple[str, ...]
    values: Mapping[str, Values]  # by method, one a picture: the mean over seeds, NaN where there is none
    undefined: Mapping[str, int]  # rows in which the measure is not defined, by method
    failures: Mapping[str, int]  # rows that failed, in explaining or in measuring, by method


@dataclass(frozen=True)
class Summary:
    """A method in a column. "equal" cannot be told from the best; where neither direction is better nothing is marked.

    >>> Summary(Key("shapes", "toy", "deletion"), "rise", "lower", Mean(0.2, 0.1, 0.3, 8), (0, 0), "best").mark
    'best'
    """

    key: Key
    method: str
    better: str
    mean: Mean
    lost: tuple[int, int]  # rows undefined, rows failed
    mark: Mark


@dataclass(frozen=True)
class Pair:
    """A method against another on the pictures that both have.

    >>> Pair(Key("shapes", "toy", "deletion"), "rise", "lime", Mean(-0.1, -0.2, -0.05, 8), p=0.01, holm=0.02).gap.sure
    True
    """

    key: Key
    method: str
    other: str
    gap: Mean  # method - other
    p: float
    holm: float


def make_columns(table: pa.Table) -> list[Column]:
    """Sort rows into columns.

    >>> import pyarrow as pa
    >>> row = {"data": "shapes", "box": "toy", "measure": "deletion", "better": "lower", "method": "rise", "failure": None}
    >>> rows = [row | {"picture": "0001", "value": value} for value in (0.25, 0.75)]  # of two seeds
    >>> make_columns(pa.Table.from_pylist(rows))[0].values
    {'rise': array([0.5])}
    """
    sorted_, lost = defaultdict[Key, list[Row]](list), defaultdict[tuple[str, str], list[Row]](list)
    wanted = ("data", "box", "measure", "method", "picture", "value", "failure", "better")
    for row in table.select(wanted).to_pylist():
        if row["measure"] is not None:
            sorted_[Key(row["data"], row["box"], row["measure"])].append(row)
        elif row["failure"]:
            lost[row["data"], row["box"]].append(row)
    return [_make_column(key, rows, lost[key.data, key.box]) for key, rows in sorted(sorted_.items())]


def _make_column(key: Key, rows: Sequence[Row], lost: Sequence[Row]) -> Column:
    methods = sorted({row["method"] for row in (*rows, *lost)})
    by_picture = defaultdict[tuple[str, str], list[float]](list)
    undefined, failures = dict.fromkeys(methods, 0), dict.fromkeys(methods, 0)
    for row in (*rows, *lost):
        value = row["value"]
        if row["failure"]:
            failures[row["method"]] += 1
        elif value is None or not np.isfinite(value):
            undefined[row["method"]] += 1
        else:
            by_picture[row["method"], row["picture"]].append(value)
    pictures = tuple(sorted({row["picture"] for row in rows}))
    values = {
        method: np.array([np.mean(by_picture.get((method, picture), np.nan)) for picture in pictures]) for method in methods
    }
    return Column(key, next(row["better"] for row in rows), pictures, values, undefined, failures)


def summarise(column: Column, paired: Sequence[Pair]) -> list[Summary]:
    """Sum up each method, and mark the best and those that cannot be told from it.

    >>> values, none = {"rise": np.array([0.1, 0.2]), "lime": np.array([0.3, 0.4])}, {"rise": 0, "lime": 0}
    >>> column = Column(Key("shapes", "toy", "deletion"), "lower", ("0001", "0002"), values, none, none)
    >>> [(summary.method, summary.mark) for summary in summarise(column, [])]
    [('rise', 'best'), ('lime', '')]
    """
    means = dict(zip(column.values, significance.estimate_means(list(column.values.values())), strict=True))
    sign = {"higher": 1, "lower": -1}.get(column.better, 0)
    known = [method for method in means if means[method].n]
    best = max(known, key=lambda method: sign * means[method].mean) if sign and known else None
    equal = {name for pair in paired if best in (pair.method, pair.other) and pair.holm > LEVEL for name in _both(pair)}
    return [
        Summary(column.key, method, column.better, mean, (column.undefined[method], column.failures[method]), mark)
        for method, mean in means.items()
        for mark in ("best" if method == best else "equal" if method in equal else "",)
    ]


def _both(pair: Pair) -> tuple[str, str]:
    return pair.method, pair.other


def compare_pairs(column: Column) -> list[Pair]:
    """Compare every two methods.

    >>> values, none = {"rise": np.array([0.1, 0.2]), "lime": np.array([0.3, 0.4])}, {"rise": 0, "lime": 0}
    >>> (pair,) = compare_pairs(Column(Key("shapes", "toy", "deletion"), "lower", ("0001", "0002"), values, none, none))
    >>> pair.method, pair.other, round(pair.gap.mean, 3)
    ('rise', 'lime', -0.2)
    """
    names = list(itertools.combinations(column.values, 2))
    gaps = [column.values[one] - column.values[other] for one, other in names]
    p = significance.compare_signed_ranks(gaps)
    tests = zip(names, significance.estimate_means(gaps), p, significance.correct_p_values(p), strict=True)
    return [Pair(column.key, one, other, gap, float(raw), float(corrected)) for (one, other), gap, raw, corrected in tests]
