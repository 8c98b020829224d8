"""Check settings against their ranges."""

from __future__ import annotations

from numbers import Real
from typing import Any

from salience.errors import SettingError, show


def expect_between(name: str, value: Any, low: float | None, high: float | None, *, open_ends: bool = False) -> None:
    """Refuse a setting outside its range; None is for the method to decide on.

    >>> expect_between("keep", 1.5, 0, 1)
    Traceback (most recent call last):
    salience.errors.SettingError: expected 0 ≤ keep ≤ 1, got 1.5
    """
    if value is None:
        return
    number = isinstance(value, Real) and not isinstance(value, bool)
    high_enough = low is None or (number and (value > low if open_ends else value >= low))
    low_enough = high is None or (number and (value < high if open_ends else value <= high))
    if not (number and high_enough and low_enough):
        sign = "<" if open_ends else "≤"
        interval = f"{'' if low is None else f'{low:g} {sign} '}{name}{'' if high is None else f' {sign} {high:g}'}"
        raise SettingError(f"expected {interval}, got {f'{value:g}' if number else show(value)}")
