"""Budgets as people write them."""

from __future__ import annotations

import pytest

from salience.engine.query.budget import Budget
from salience.errors import BudgetError


@pytest.mark.parametrize(
    ("said", "passes", "seconds"),
    [
        (2000, 2000, None),
        ("2000", 2000, None),
        ("2000 passes", 2000, None),
        ("1 pass", 1, None),
        (" 300PASSES ", 300, None),
        (500.0, 500, None),
        ("10s", None, 10),
        ("1.5 seconds", None, 1.5),
        ("2 min", None, 120),
        ("0.5m", None, 30),
        (None, None, None),
    ],
)
def test_a_budget_is_read_as_people_write_it(said: object, passes: int | None, seconds: float | None) -> None:
    """Numbers alone are passes, units of time are seconds, nothing is no bound."""
    assert Budget.of(said) == Budget(passes, seconds)


@pytest.mark.parametrize("said", ["", "0", -5, "ten", "10 parsecs", "1.5 passes", "nan", "inf", "10 s passes", True])
def test_a_budget_that_means_nothing_is_refused_in_words(said: object) -> None:
    """A budget below one pass, of part of a pass, or in unknown units bounds nothing."""
    with pytest.raises(BudgetError, match="expected a budget like 2000, '2000 passes' or '10s', got"):
        Budget.of(said)


def test_a_budget_is_written_as_it_is_read() -> None:
    """The record keeps the text, and the text makes the budget again."""
    for budget in (Budget(passes=700), Budget(seconds=12.5)):
        assert Budget.of(str(budget)) == budget
    assert str(Budget()) == "no limit"
    assert str(Budget(5, 2)) == "5 passes, 2s"


def test_a_budget_that_is_one_already_stays() -> None:
    """Nothing is lost of a budget of both kinds."""
    both = Budget(10, 3.0)
    assert Budget.of(both) is both
