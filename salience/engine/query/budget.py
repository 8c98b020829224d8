"""How much a method may spend: forward passes, seconds, or both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Real

from salience.errors import BudgetError, show
from salience.limits import PASSES, SECONDS

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(passes|pass|seconds|second|sec|s|minutes|minute|min|m)?")
LETTERS = 300  # more is no budget; a number with fewer digits is finite
_SECONDS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60}


@dataclass(frozen=True)
class Budget:
    """An upper bound. None means unbounded.

    >>> Budget.of("2 min")
    Budget(passes=None, seconds=120.0)
    >>> str(Budget(passes=2000))
    '2000 passes'
    """

    passes: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for value, most in ((self.passes, PASSES), (self.seconds, SECONDS)):
            number = isinstance(value, Real) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value <= most):
                raise BudgetError(f"expected a budget above zero and of at most {most:,}, got {show(value)}: give another")

    @classmethod
    def of(cls, value: Budget | str | float | None) -> Budget:
        """Read `2000`, `"2000 passes"`, `"10s"`, `"2 min"` or a `Budget`."""
        if isinstance(value, Budget):
            return value
        if value is None:
            return cls()
        text = str(value) if isinstance(value, str) or (isinstance(value, Real) and value <= PASSES) else ""
        match = _FORM.fullmatch(text[:LETTERS].strip().lower())
        amount = float(match[1]) if match else 0.0
        unit = (match[2] if match else None) or "passes"
        if amount <= 0 or (unit.startswith("pass") and amount != int(amount)):
            raise BudgetError(f"expected a budget like 2000, '2000 passes' or '10s', got {show(value)}: give one above zero")
        return cls(passes=int(amount)) if unit.startswith("pass") else cls(seconds=amount * _SECONDS[unit])

    def __str__(self) -> str:
        """Write it as it is read."""
        said = [f"{self.passes} passes"] if self.passes else []
        return ", ".join(said + ([f"{self.seconds:g}s"] if self.seconds else [])) or "no limit"
