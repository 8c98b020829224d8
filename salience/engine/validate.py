"""Check settings against their ranges."""

from __future__ import annotations

from salience.errors import SettingError


def expect_between(
    name: str, value: float | None, low: float | None, high: float | None, *, open_ends: bool = False
) -> None:
    """Refuse a setting outside its range; None is for the method to decide on.

    >>> expect_between("keep", 1.5, 0, 1)
    Traceback (most recent call last):
    salience.errors.SettingError: expected 0 ≤ keep ≤ 1, got 1.5
    """
    if value is None:
        return
    high_enough = low is None or (value > low if open_ends else value >= low)
    low_enough = high is None or (value < high if open_ends else value <= high)
    if not (high_enough and low_enough):
        sign = "<" if open_ends else "≤"
        interval = f"{'' if low is None else f'{low:g} {sign} '}{name}{'' if high is None else f' {sign} {high:g}'}"
        raise SettingError(f"expected {interval}, got {value:g}")
