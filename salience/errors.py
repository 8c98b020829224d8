"""What can go wrong. Each message is one sentence: what was expected, what came, what to do.

SalienceError
├── PictureError     a picture that cannot be read
├── UnknownName      no method, box, class, layer or setting of that name (with close matches)
├── TargetError      a target that the box does not have
├── SettingError     a setting outside its range
├── BoxError         a box that cannot be loaded, raises, or returns something else than finite scores
├── BudgetError      a budget too small for the method
├── RecordError      an explanation file that cannot be read or written
├── DataError        a data set that cannot be opened, or a sample that cannot be read
└── GridError        a grid file that does not make sense, or a run that is not there
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SalienceError(Exception):
    """The base of every error that this library raises on purpose."""


class PictureError(SalienceError):
    """A picture that cannot be read."""


class UnknownName(SalienceError):  # noqa: N818  # what is unknown is a name, not an error
    """A name that is not there. `of` builds the sentence with close matches."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str], hint: str = "") -> UnknownName:
        """Say which names come close; all of them when there are few."""
        names = list(known)
        spelt = {known.lower(): known for known in names}
        near = get_close_matches(name.lower(), spelt, n=3, cutoff=0.5)  # the closest first
        close = [spelt[each] for each in near] or (names if len(names) <= 12 else [])
        offer = f"did you mean {', '.join(close)}?" if close else hint or "see `salience list`"
        article = "an" if kind[0] in "aeiou" else "a"
        return cls(f"expected the name of {article} {kind}, got {name!r}: {offer}")


class TargetError(SalienceError):
    """A target that the box does not have."""


class SettingError(SalienceError):
    """A setting outside its range."""


class BoxError(SalienceError):
    """A box that cannot be loaded, raises, or returns something else than finite scores."""


class BudgetError(SalienceError):
    """A budget too small for the method."""


class RecordError(SalienceError):
    """An explanation file that cannot be read or written."""


class DataError(SalienceError):
    """A data set that cannot be opened, or a sample that cannot be read."""


class GridError(SalienceError):
    """A grid file that does not make sense, or a run that is not there."""
