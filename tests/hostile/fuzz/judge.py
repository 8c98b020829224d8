"""One case: run in this process within a time limit, then accepted, refused, foreign, hung or silently wrong."""

from __future__ import annotations

import os
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypothesis.strategies import SearchStrategy

from salience.errors import SalienceError

Verdict = Literal["accepted", "refused", "foreign", "hung", "wrong", "unmade"]
VERDICTS: tuple[Verdict, ...] = ("accepted", "refused", "foreign", "hung", "wrong")
GOOD = ("accepted", "refused", "unmade")  # the last: not even numpy or torch make such a thing
SECONDS = 20.0  # what a case may take; most take milliseconds
LETTERS = 500  # of a sentence


class Hung(BaseException):
    """A case that took too long; no `Exception`, lest the code under test catches it."""


class WrongError(Exception):
    """A case that was accepted though it cannot be right."""


class UnmadeError(Exception):
    """A recipe of which nothing can be made: no case."""


@contextmanager
def making() -> Iterator[None]:
    """Make what is handed in; whatever fails here is no fault of whom it is for."""
    try:
        yield
    except Exception as problem:
        raise UnmadeError from problem


@dataclass(frozen=True)
class Kind:
    """A kind of cases."""

    name: str
    recipes: SearchStrategy[Any]
    run: Callable[[Any, Path], None]
    share: int = 1  # how many of all cases, in comparison with the other kinds


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    verdict: Verdict
    said: str = ""


def judge(kind: Kind, recipe: Any, seconds: float = SECONDS) -> Outcome:
    """Run one case in a folder of its own."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        try:
            with _limit(seconds), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind.run(recipe, Path(folder))
        except Hung:
            return Outcome("hung", traceback.format_exc())
        except UnmadeError:
            return Outcome("unmade")
        except WrongError as problem:
            return Outcome("wrong", str(problem))
        except SalienceError as problem:
            return _judge_sentence(str(problem))
        except BaseException:  # noqa: BLE001  # whatever comes is the finding
            return Outcome("foreign", traceback.format_exc())
        finally:
            os.chdir(here)
    return Outcome("accepted")


def _judge_sentence(said: str) -> Outcome:
    faults = [
        name
        for name, holds in (
            ("long", len(said) > LETTERS),
            ("two lines", "\n" in said),
            ("no expected", "expected" not in said),
        )
        if holds
    ]
    return (
        Outcome("foreign", f"a sentence that is none ({', '.join(faults)}): {said[:2000]}")
        if faults
        else Outcome("refused", said)
    )


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
