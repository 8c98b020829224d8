"""What can go wrong. Each message is one sentence: what was expected, what came, what to do.

SalienceError
├── PictureError     a picture that cannot be read
├── UnknownName      no method, box, class, layer or setting of that name (with close matches)
├── TargetError      a target that the box does not have
├── SettingError     a setting outside its range
├── BoxError         a box that cannot be loaded, raises, or returns something else than finite scores
│   ├── NoGradientsError  a network that torch cannot differentiate
│   └── PlacesError  a model that answers for places of a picture: it becomes a box once it is asked about one
├── BudgetError      a budget too small for the method
├── RecordError      an explanation file that cannot be read or written
├── DataError        a data set that cannot be opened, or a sample that cannot be read
└── GridError        a grid file that does not make sense, or a run that is not there
"""

from __future__ import annotations

import errno
import re
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

LONGEST = 200  # letters of a name that close matches are looked for
MOST = 480  # letters of a sentence; what came is cut in the middle


class SalienceError(Exception):
    """The base of every error that this library raises on purpose.

    What it says is one line, and not without end, whatever it repeats of what came.

    >>> len(str(PictureError(f"expected a picture at {'a' * 10**6}, got nothing there: check the path"))) < 500
    True
    """

    def __init__(self, said: object = "") -> None:
        text = re.sub(r"\s*\n\s*", " ", f"{said}".strip())
        super().__init__(text if len(text) <= MOST else f"{text[: MOST - 180]} … {text[-170:]}")


class PictureError(SalienceError):
    """A picture that cannot be read.

    >>> from salience.picture import read
    >>> read("none.jpg")
    Traceback (most recent call last):
        ...
    salience.errors.PictureError: expected a picture at none.jpg, got nothing there: check the path
    """


class UnknownName(SalienceError):  # noqa: N818  # what is unknown is a name, not an error
    """A name that is not there. `of` builds the sentence with close matches.

    >>> raise UnknownName.of("method", "grad-cm", ["grad-cam", "rise"])
    Traceback (most recent call last):
        ...
    salience.errors.UnknownName: expected the name of a method, got 'grad-cm': did you mean grad-cam?
    """

    @classmethod
    def of(cls, kind: str, name: Any, known: Iterable[str], hint: str = "") -> UnknownName:
        """Say which names come close; all of them when there are few."""
        names = list(known)
        spelt = {known.lower(): known for known in names}
        near = get_close_matches(
            name.lower()[:LONGEST] if isinstance(name, str) else "", spelt, n=3, cutoff=0.5
        )  # the closest first
        close = [spelt[each] for each in near] or (names if len(names) <= 12 else [])
        offer = f"did you mean {', '.join(close)}?" if close else hint or "see `salience list`"
        article = "an" if kind[0] in "aeiou" else "a"
        return cls(f"expected the name of {article} {kind}, got {show(name)}: {offer}")


class TargetError(SalienceError):
    """A target that the box does not have.

    >>> from salience.engine import target
    >>> target.resolve(7, [0.7, 0.3], ["cat", "dog"])
    Traceback (most recent call last):
        ...
    salience.errors.TargetError: expected a class from 0 to 1, got 7: `salience list classes` names them
    """


class SettingError(SalienceError):
    """A setting outside its range.

    >>> from salience.methods.rise import Rise
    >>> Rise(keep=2.0)
    Traceback (most recent call last):
        ...
    salience.errors.SettingError: expected 0 < keep < 1, got 2
    """


class BoxError(SalienceError):
    """A box that cannot be loaded, raises, or returns something else than finite scores.

    >>> from salience.specs import open_box
    >>> open_box(224)
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected a box (a spec, a torch module or a function), got int
    """


class NoGradientsError(BoxError):
    """A network that torch cannot differentiate.

    >>> issubclass(NoGradientsError, BoxError)
    True
    """


class PlacesError(BoxError):
    """A model that answers for places, where scores of classes are expected; it holds the model and an answer to one image.

    >>> issubclass(PlacesError, BoxError)
    True
    """

    def __init__(self, model: Any, answer: Any, *, together: bool) -> None:
        super().__init__(
            f"expected scores of classes from {model.name}, got answers for places: load it again, without classes"
        )
        self.model, self.answer, self.together = model, answer, together


class BudgetError(SalienceError):
    """A budget too small for the method.

    >>> from salience.engine.query.budget import Budget
    >>> Budget.of("0 passes")
    Traceback (most recent call last):
        ...
    salience.errors.BudgetError: expected a budget like 2000, '2000 passes' or '10s', got '0 passes': give one above zero
    """


class RecordError(SalienceError):
    """An explanation file that cannot be read or written.

    >>> from salience.explanation import Explanation
    >>> Explanation.load("none.npz")
    Traceback (most recent call last):
        ...
    salience.errors.RecordError: expected an explanation at none.npz, got nothing there: check the path
    """


class DataError(SalienceError):
    """A data set that cannot be opened, or a sample that cannot be read.

    >>> from salience.specs import open_data
    >>> open_data("folder:none")
    Traceback (most recent call last):
        ...
    salience.errors.DataError: expected a folder of pictures at none, got nothing there: check the path
    """


class GridError(SalienceError):
    """A grid file that does not make sense, or a run that is not there.

    >>> from pathlib import Path
    >>> from salience.bench.grid import read_grid
    >>> read_grid(Path("none.toml"))
    Traceback (most recent call last):
        ...
    salience.errors.GridError: expected a grid file at none.toml, got No such file or directory: check the path
    """


def show(value: Any) -> str:
    """Show what came, in some letters, whatever it is.

    >>> show("red"), show(list(range(100)))
    ("'red'", '[0, 1, 2, 3, 4, 5, ...]')
    """
    try:
        return _SHORT.repr(value)
    except Exception:  # noqa: BLE001  # whoever cannot say what it is, is named by its kind
        return f"something of the type {type(value).__name__}"


_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 80, 80, 40


def describe(problem: BaseException) -> str:
    """Describe an error that somebody else's code raised.

    >>> describe(KeyError("size"))
    "KeyError: 'size'"
    """
    try:
        said = str(problem)
    except Exception:  # noqa: BLE001  # as above
        said = ""
    return f"{type(problem).__name__}: {said[:MOST]}" if said else type(problem).__name__


_ADVICE = {
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EINVAL: "copy what it gives to a file first",  # a pipe or a device, see limits.read_bytes
    errno.EFBIG: "make it smaller first",
    errno.ELOOP: "check where its links lead",
    errno.ENOSPC: "make room there, or choose another folder",
    errno.EDQUOT: "make room there, or choose another folder",
    errno.EROFS: "choose a folder that can be written to",
}


def advise(problem: OSError, otherwise: str = "check the path") -> str:
    """Say what to do about a file that cannot be read or written.

    >>> advise(OSError(36, "File name too long")), advise(OSError(5, "Input/output error"))
    ('give it a shorter name', 'check the path')
    """
    return _ADVICE.get(problem.errno or 0, otherwise)


@contextmanager
def translate(error: type[SalienceError], expected: str, advice: str) -> Iterator[None]:
    """Say in one sentence what somebody else's code raises: a decoder's, a box's, that of an object which was handed in.

    >>> with translate(PictureError, "a whole picture in cut.png", "get it anew"):
    ...     raise EOFError("no more")
    Traceback (most recent call last):
        ...
    salience.errors.PictureError: expected a whole picture in cut.png, got EOFError: no more: get it anew
    """
    try:
        yield
    except SalienceError:
        raise
    except Exception as problem:
        raise error(f"expected {expected}, got {describe(problem)}: {advice}") from problem


@contextmanager
def catch_exit(what: str) -> Iterator[None]:
    """Make an error of an exit that somebody else's code asks for: the program would end as if all were well.

    >>> with catch_exit("the box net.py"):
    ...     raise SystemExit
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected an answer of the box net.py, got an exit of the program (): take it out of its code
    """
    try:
        yield
    except SystemExit as problem:
        raise BoxError(
            f"expected an answer of {what}, got an exit of the program ({problem}): take it out of its code"
        ) from problem
