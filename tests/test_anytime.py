"""Stopping when the map stands still, and the record of how it came to that."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import salience
from salience.boxes import toy
from salience.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_tolerance_stops_when_the_halves_agreed_twice() -> None:
    """Not before, and not after."""
    whole = salience.explain("toy:corner", toy.picture(), "rise", estimator="centred", masks=4096)
    steady = salience.explain("toy:corner", toy.picture(), "rise", estimator="centred", masks=4096, tolerance=0.15)
    assert steady.passes < whole.passes
    assert steady.stability is not None
    assert steady.stability >= 0.85
    trace = steady.evidence["trace"]
    assert [stable >= 0.85 for _, stable in trace[-2:]] == [True, True]
    assert not [one for one, two in pairwise(trace[:-1]) if min(one[1], two[1]) >= 0.85]


def test_the_record_has_the_trace_of_passes_and_stability(tmp_path: Path) -> None:
    """It is kept in the file, and ends with what the record says."""
    why = salience.explain("toy:colour", toy.picture(), "rise", masks=1000)
    loaded = salience.Explanation.load(why.save(tmp_path / "a.salience"))
    assert [passes for passes, _ in loaded.evidence["trace"]] == [256, 512, 768, 1000]
    assert loaded.evidence["trace"][-1] == [1000, why.stability]


def test_a_tolerance_changes_nothing_in_a_method_that_does_not_sample() -> None:
    """One pass is one pass."""
    one, other = (salience.explain("toy:colour", toy.picture(), "gradient", tolerance=each) for each in (None, 0.5))
    assert (one.passes, one.saliency.tolist()) == (other.passes, other.saliency.tolist())


def test_a_tolerance_outside_its_range_is_refused() -> None:
    """0 would never be met."""
    with pytest.raises(SettingError, match="expected 0 < tolerance < 1, got 0"):
        salience.explain("toy:colour", toy.picture(), "rise", tolerance=0)
