"""Samples that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from salience.case import Sample


class Lazy(Sequence[Sample]):
    """A sequence of keys, each made into a sample when it is asked for."""

    def __init__(self, make: Callable[[Any], Sample], keys: Sequence[Any]) -> None:
        self.make, self.keys = make, keys

    def __len__(self) -> int:
        """Count them."""
        return len(self.keys)

    @overload
    def __getitem__(self, number: int) -> Sample: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Sample]: ...
    def __getitem__(self, number: int | slice) -> Sample | Sequence[Sample]:
        """Make one, or put off several."""
        if isinstance(number, slice):
            return Lazy(self.make, self.keys[number])
        return self.make(self.keys[number])
