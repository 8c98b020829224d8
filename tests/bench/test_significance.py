"""Means, intervals and tests of differences, and the columns made of rows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from salience.bench import significance, statistics
from salience.engine import seeding

NAN = float("nan")
VALUES = np.random.default_rng(0).normal(size=(3, 9))


def row(method: str, picture: str, value: float | None, **more: Any) -> dict[str, Any]:
    """Write a row as a run does."""
    about = {"data": "d", "box": "b", "measure": "m", "better": "higher", "failure": None, "seed": 0}
    return about | {"method": method, "picture": picture, "value": value} | more


def column(*rows: dict[str, Any]) -> statistics.Column:
    """Make the one column of these rows."""
    (made,) = statistics.make_columns(pa.Table.from_pylist(list(rows)))
    return made


def test_an_interval_is_where_the_middle_95_percent_of_redrawn_means_lie() -> None:
    """The twin draws the same pictures one by one and sorts their means."""
    drawn = torch.randint(9, (significance.DRAWS, 9), generator=seeding.generator(0, "bootstrap", 9, 0)).tolist()
    for found, values in zip(significance.estimate_means(list(VALUES)), VALUES, strict=True):
        means = sorted(sum(values[at] for at in draw) / 9 for draw in drawn)
        ends = []
        for share in (0.025, 0.975):
            at = share * (len(means) - 1)
            below = math.floor(at)
            ends.append(means[below] + (at - below) * (means[below + 1] - means[below]))
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)
        assert found.mean == pytest.approx(sum(values) / 9, abs=1e-12)


def test_draws_in_lots_are_as_many_and_as_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by drawing a part at a time; the interval is one of the same distribution."""
    whole = significance.estimate_means([VALUES[0]])[0]
    significance._weights.cache_clear()
    monkeypatch.setattr(significance, "BLOCK", 9 * 300)
    parts = significance.estimate_means([VALUES[0]])[0]
    significance._weights.cache_clear()
    assert (
        sum(len(significance._weights(9, begin)) for begin in range(0, significance.DRAWS, significance._count_draws(9)))
        == significance.DRAWS
    )
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.1)
    assert parts.low != whole.low
    significance._weights.cache_clear()


def test_a_mean_leaves_out_what_is_not_there_and_says_how_many_are() -> None:
    """One picture has no interval, none no mean; a constant's interval is the constant."""
    some, one, none, same = significance.estimate_means(
        [np.array(v) for v in ([1.0, NAN, 3.0], [NAN, 5.0], [NAN, NAN], [2.0] * 4)]
    )
    assert (some.mean, some.n, one.mean, one.n, none.n) == (2, 2, 5, 1, 0)
    assert math.isnan(one.low)
    assert math.isnan(none.mean)
    assert not one.sure
    assert (same.low, same.high, same.sure) == (2, 2, True)


def test_wilcoxon_counts_out_all_signs_of_the_ranks() -> None:
    """Under no difference each rank is as likely on either side; the twin lists all 2⁹ ways."""
    gap = VALUES[1] + 0.4
    ranks = np.abs(gap).argsort().argsort() + 1
    ways = itertools.product((0, 1), repeat=9)
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in ways]
    seen = min(ranks[gap > 0].sum(), ranks[gap < 0].sum())
    p = 2 * sum(each <= seen for each in sums) / len(sums)
    assert significance.compare_signed_ranks([gap]) == pytest.approx([min(1, p)], abs=1e-12)


def test_wilcoxon_with_ties_is_the_normal_approximation() -> None:
    """Tied ranks share their mean, and take (t³ − t)/48 off the variance."""
    gap = np.array([1, 1, -1, 2, 2, 3, 0, 0.0])
    ranks = {1: 2.0, 2: 4.5, 3: 6.0}
    plus, n = sum(ranks[abs(each)] for each in gap if each > 0), 6
    variance = n * (n + 1) * (2 * n + 1) / 24 - ((3**3 - 3) + (2**3 - 2)) / 48
    z = (plus - n * (n + 1) / 4) / math.sqrt(variance)
    assert significance.compare_signed_ranks([gap]) == pytest.approx([math.erfc(abs(z) / math.sqrt(2))], abs=1e-12)


def test_one_test_does_not_depend_on_the_others() -> None:
    """Rows are tested together for speed only."""
    gaps = [VALUES[0], np.zeros(9), np.sign(VALUES[1]), np.full(9, NAN), VALUES[2][:5]]
    alone = [float(significance.compare_signed_ranks([gap])[0]) for gap in gaps]
    assert significance.compare_signed_ranks(gaps).tolist() == pytest.approx(alone, nan_ok=True)
    assert alone[1] == 1  # nothing differs
    assert math.isnan(alone[3])  # nothing is there


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    """0.01 × 3, then 0.02 × 2, then 0.03 × 1 raised to the one before; NaN is no test."""
    assert significance.correct_p_values([0.03, 0.01, NAN, 0.02]).tolist() == pytest.approx(
        [0.04, 0.03, NAN, 0.04], nan_ok=True
    )
    assert significance.correct_p_values([0.6, 0.9]).tolist() == [1, 1]
    assert significance.correct_p_values([]).tolist() == []


def test_a_picture_counts_once_however_many_seeds_it_has() -> None:
    """The mean over pictures of the means over seeds."""
    made = column(row("a", "1", 0.0), row("a", "1", 1.0, seed=1), row("a", "2", 2.0))
    (found,) = statistics.summarise(made, statistics.compare_pairs(made))
    assert (found.mean.mean, found.mean.n) == (1.25, 2)


def test_what_is_undefined_or_failed_is_counted_and_never_averaged() -> None:
    """A method that could not explain has failed every measure of that picture."""
    lost = row("b", "1", None, measure=None, better=None, failure="no")
    made = column(row("a", "1", NAN), row("a", "2", None, failure="no"), row("a", "3", 4.0), lost)
    first, second = statistics.summarise(made, statistics.compare_pairs(made))
    assert (first.lost, first.mean.mean, first.mean.n) == ((1, 1), 4, 1)
    assert (second.lost, second.mean.n, second.mark) == ((0, 1), 0, "")


@pytest.mark.parametrize(
    ("better", "marks"), [("higher", ["best", "equal", ""]), ("lower", ["", "", "best"]), ("neither", [""] * 3)]
)
def test_the_best_is_marked_and_what_cannot_be_told_from_it(better: str, marks: list[str]) -> None:
    """Method b follows a within noise; c is far from both; where neither direction is better, nothing is marked."""
    noise = np.random.default_rng(1).normal(size=20)
    values = {"a": 5 + noise, "b": 5 + noise + np.where(np.arange(20) % 2, -0.02, 0.01), "c": noise}
    made = column(*(row(name, str(at), float(v), better=better) for name in values for at, v in enumerate(values[name])))
    assert [each.mark for each in statistics.summarise(made, statistics.compare_pairs(made))] == marks


def test_methods_are_compared_on_the_pictures_that_both_have() -> None:
    """Means of different pictures would compare the pictures."""
    made = column(row("a", "1", 1.0), row("a", "2", 9.0), row("b", "1", 2.0), row("b", "3", 0.0))
    (pair,) = statistics.compare_pairs(made)
    assert (pair.gap.mean, pair.gap.n) == (-1, 1)
