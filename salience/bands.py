"""What each band of a picture of many bands is worth to a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMED = 5  # bands, where they are said in a line


@dataclass(frozen=True)
class BandShares:
    """How far the target's score falls without each band, which shows the box's mean of that band instead.

    A band's share is its part of all that is lost, a band without which the score rises has none.

    >>> found = BandShares(everywhere=(0.0, 0.75, -0.1, 0.25), high=(), area=0.15, passes=4)
    >>> found.shares, found.ranked
    ((0.0, 0.75, 0.0, 0.25), (2, 4, 1, 3))
    >>> str(found)
    'band 2 75%, 4 25% of what the score loses without them (4 passes)'
    """

    everywhere: tuple[float, ...]  # the drop of the score, in the order of the bands
    high: tuple[float, ...]  # the drop where a band is hidden in the highest part of the map only; none for a blank map
    area: float  # the share of the map that is this part
    passes: int  # what it took, besides the method's

    @property
    def shares(self) -> tuple[float, ...]:
        """Each band's part of what is lost; they add up to 1, or are all 0 where nothing is."""
        return _normalise(self.everywhere)

    @property
    def high_shares(self) -> tuple[float, ...]:
        """The same of the part where the map is high."""
        return _normalise(self.high)

    @property
    def ranked(self) -> tuple[int, ...]:
        """The bands, counted from 1, from the one without which the score falls most."""
        return tuple(sorted(range(1, len(self.everywhere) + 1), key=lambda band: -self.everywhere[band - 1]))

    def describe(self) -> dict[str, Any]:
        """Return all as plain values."""
        return {
            "everywhere": {"drops": list(self.everywhere), "shares": list(self.shares)},
            "high": {"drops": list(self.high), "shares": list(self.high_shares)},
            "area": self.area,
            "passes": self.passes,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any] | None) -> BandShares | None:
        """Make it of what `describe` says of one; None of nothing."""
        if plain is None:
            return None
        everywhere, high = (tuple(plain[where]["drops"]) for where in ("everywhere", "high"))
        return cls(everywhere, high, plain["area"], plain["passes"])

    def __str__(self) -> str:
        """Name the first five bands, everywhere and where the map is high."""
        whole, high = _name_largest(self.shares), _name_largest(self.high_shares)
        said = f"band {whole} of what the score loses without them" if whole else "without none does the score fall"
        there = f"; where the map is high {high}" if high else ""
        return f"{said}{there} ({self.passes} passes)"


def _name_largest(shares: Sequence[float]) -> str:
    ranked = sorted(enumerate(shares, 1), key=lambda each: -each[1])
    return ", ".join(f"{band} {share:.0%}" for band, share in ranked[:NAMED] if share >= 0.005)


def _normalise(drops: Sequence[float]) -> tuple[float, ...]:
    positive = [max(0.0, each) for each in drops]
    total = sum(positive)
    return tuple(each / total if total > 0 else 0.0 for each in positive)
