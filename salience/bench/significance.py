"""Means with intervals, and tests of differences.

Intervals are 95 % percentile bootstraps (Efron, Bootstrap methods, Annals of Statistics 1979). Differences are tested
by signed ranks (Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1945), and many tests are
corrected by Holm (A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from salience.engine import seeding

DRAWS = 2000
BLOCK = 4_000_000  # numbers of the bootstrap in memory at a time
EXACT = 50  # differences up to which the distribution of Wilcoxon's statistic is counted out

Values = Float[ndarray, " _"]  # rows of many lengths


@dataclass(frozen=True)
class Mean:
    """A mean over pictures with its 95 % interval; NaN where there are too few pictures for one.

    >>> Mean(0.5, low=0.25, high=0.75, n=8).half, Mean(0.5, low=0.25, high=0.75, n=8).sure
    (0.25, True)
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def estimate_means(rows: Sequence[Values]) -> list[Mean]:
    """Average each row over what is not NaN; rows of as many numbers share the pictures drawn.

    >>> estimate_means([np.array([1.0, 2.0, 3.0])])[0].mean
    2.0
    """
    means = {}
    for group in _group_finite(rows, len).values():
        stacked = np.stack([finite for _, finite in group])
        n = stacked.shape[1]
        drawn = (
            np.concatenate([_weights(n, start) @ stacked.T for start in range(0, DRAWS, _count_draws(n))]) if n > 1 else None
        )
        low, high = np.full((2, len(group)), np.nan) if drawn is None else np.percentile(drawn, [2.5, 97.5], axis=0)
        for at, (number, finite) in enumerate(group):
            means[number] = Mean(float(finite.mean()) if n else float("nan"), float(low[at]), float(high[at]), n)
    return [means[number] for number in range(len(rows))]


def _count_draws(n: int) -> int:
    return max(1, BLOCK // n)


@lru_cache(maxsize=8)
def _weights(n: int, start: int) -> Float[ndarray, "draws n"]:
    """Draw n of n pictures with replacement; say for each draw how much each counts."""
    count = min(_count_draws(n), DRAWS - start)
    drawn = torch.randint(n, (count, n), generator=seeding.generator(0, "bootstrap", n, start))
    weights = torch.zeros(count, n, dtype=torch.double).scatter_add_(1, drawn, torch.ones(1).double().expand(count, n))
    return (weights / n).numpy()


def compare_signed_ranks(gaps: Sequence[Values]) -> Values:
    """Test whether differences lie around zero, two-sided; those that are zero are left out, and only zeros give 1.

    The distribution is counted out for 50 differences or fewer without ties, else it is the normal approximation.

    >>> compare_signed_ranks([np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]).round(3)
    array([0.031])
    """
    from scipy import stats

    p_values = np.full(len(gaps), np.nan)
    nonzero = [gap[gap != 0] for gap in gaps]
    for (n, tied), group in _group_finite(nonzero, lambda gap: (len(gap), _rank_ties(gap))).items():
        numbers, stacked = [number for number, _ in group], np.stack([gap for _, gap in group])
        if n:
            p_values[numbers] = stats.wilcoxon(
                stacked, axis=1, method="exact" if n <= EXACT and not tied else "approx"
            ).pvalue
        else:
            p_values[numbers] = [1.0 if np.isfinite(gaps[number]).any() else np.nan for number in numbers]
    return p_values


def _rank_ties(gap: Values) -> bool:
    return len(np.unique(np.abs(gap))) < len(gap)


def _group_finite(rows: Sequence[Values], kind: Any) -> dict[Any, list[tuple[int, Values]]]:
    """Drop NaNs and group rows, with their numbers, by kind."""
    groups = defaultdict[Any, list[tuple[int, Values]]](list)
    for number, row in enumerate(rows):
        finite = row[np.isfinite(row)]
        groups[kind(finite)].append((number, finite))
    return groups


def correct_p_values(p: Iterable[float]) -> Values:
    """Correct p-values for their number, from the smallest up; NaN is no test and stays.

    >>> correct_p_values([0.01, 0.04])
    array([0.02, 0.04])
    """
    corrected = np.array(list(p), dtype=float)
    order = np.argsort(corrected)  # NaN comes last
    tests = int(np.isfinite(corrected).sum())
    rising = np.maximum.accumulate([corrected[at] * (tests - rank) for rank, at in enumerate(order[:tests])] or [0.0])
    corrected[order[:tests]] = np.minimum(rising, 1)[:tests]
    return corrected
