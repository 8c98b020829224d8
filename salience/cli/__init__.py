"""The command line: parse, call the library, print. Data go to standard output, words to standard error.

Every failure that a user can cause is one sentence on standard error and exit code 2.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from salience.errors import SalienceError

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["app", "main"]


def app(words: Sequence[str] = ()) -> App:
    """Build the program for what was typed: `explain` has the options of the method that was chosen."""
    from cyclopts import App

    from salience import __version__
    from salience.cli import listing
    from salience.cli.bench import bench
    from salience.cli.compare import compare
    from salience.cli.export import export
    from salience.cli.measure import measure
    from salience.cli.report import report

    made = App(name="salience", help=ABOUT, version=__version__, help_format="plaintext", result_action="return_value")
    if words[:1] == ["explain"]:
        from salience.cli import explain

        made.command(explain.command(find_method(words)), name="explain")
    else:
        made.command(_explain, name="explain")  # its outline: without the methods there is no need to import torch
    if words[:1] == ["fit"]:
        from salience.cli import fit

        made.command(fit.app(), name="fit")
    else:
        made.command(_fit, name="fit")
    if words[:1] == ["train"]:
        from salience.cli import train

        made.command(train.app(), name="train")
    else:
        made.command(_train, name="train")
    made.command(listing.app(), name="list")
    for each in (measure, bench, report, compare, export):
        made.command(each)
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    show = warnings.showwarning
    try:
        warnings.showwarning = _warn
        return _run(words)
    except SalienceError as problem:
        return _fail(problem, str(problem), 2)
    except KeyboardInterrupt as problem:
        return _fail(problem, "stopped", 130)
    except BrokenPipeError:  # `salience list classes | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # so that the interpreter's last flush has a place to go
        return 0
    except Exception as problem:  # noqa: BLE001  # the last resort: a defect of ours is also said in words
        said = f"unexpected {type(problem).__name__}: {problem} (a defect of salience; SALIENCE_DEBUG=1 shows where)"
        return _fail(problem, said, 1)
    finally:
        warnings.showwarning = show


def find_method(words: Sequence[str]) -> str | None:
    """Find the method on a command line before it is parsed."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word == "--":
            return None
        if word == "--method":
            return after
        if word.startswith("--method="):
            return word.removeprefix("--method=")
    return None


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError

    from salience.cli import parse_errors

    made = app(words)
    if not words:
        made.help_print([])
        return 0
    try:
        done = made(words, print_error=False, exit_on_error=False)
    except CycloptsError as problem:
        raise parse_errors.translate(problem, words) from problem
    return done if isinstance(done, int) else 0


def _fail(problem: BaseException, said: str, code: int) -> int:
    if os.environ.get("SALIENCE_DEBUG"):
        import traceback

        traceback.print_exception(problem)
    sys.stderr.write(f"salience: {' '.join(said.split())}\n")
    return code


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say a warning in one sentence, without the line of code that it comes from."""
    plain = f"salience: {' '.join(str(message).split())}\n"
    said = plain if category is UserWarning else warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(said)


def _explain() -> None:
    """Explain pictures: draw what the classifier saw in them."""


def _fit() -> None:
    """Train an explainer for a box, on pictures; labels are not looked at."""


def _train() -> None:
    """Train a classifier on labelled pictures, so that it is right and its maps are sparse; the result is a box."""


ABOUT = """Why did the image classifier say that? Saliency maps for any classifier.

Begin with `salience explain`, which explains a sample photograph, or `salience explain PICTURE`.
"""
