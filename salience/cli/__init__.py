"""The command line: parse, call the library, print. Data go to standard output, words to standard error.

Every failure that a user can cause is one sentence on standard error and exit code 2.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from salience.cli import terminal
from salience.errors import SalienceError, advise, describe

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:  # noqa: PLR0911  # one for each kind of end
    """Run the program; return its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    show = warnings.showwarning
    try:
        warnings.showwarning = _warn
        return _run(words)
    except SalienceError as problem:
        return _fail(problem, str(problem), 2)
    except SystemExit as problem:  # of code that is not ours: nothing was explained, whatever it says
        return _end_of_foreign_exit(problem)
    except KeyboardInterrupt as problem:
        return _fail(problem, "stopped", 130)
    except BrokenPipeError:  # `salience list classes | head`
        return _leave_quietly()
    except OSError as problem:  # of a disk: whoever wrote to it knew no more of it
        where = f"{problem.filename}" if problem.filename else "a file"
        return _fail(problem, f"expected to read or write {where}, got {problem.strerror or problem}: {advise(problem)}", 2)
    except MemoryError as problem:
        return _fail(problem, "expected memory for it, got none left: take a smaller --batch, picture or box", 2)
    except Exception as problem:  # noqa: BLE001  # the last resort: a defect of ours is also said in words
        said = f"unexpected {describe(problem)} (a defect of salience: please report it with what SALIENCE_DEBUG=1 shows)"
        return _fail(problem, said, 1)
    finally:
        warnings.showwarning = show


def _leave_quietly() -> int:
    """End without a word where nobody reads any more."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # so that the interpreter's last flush has a place to go
    return 0


def _end_of_foreign_exit(problem: SystemExit) -> int:
    if isinstance(problem.__context__, BrokenPipeError):  # rich exits where help is piped into `head`
        return _leave_quietly()
    return _fail(problem, f"expected an answer, got an exit of the program ({problem}) by code that it called", 2)


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError

    from salience.cli import parse_errors
    from salience.cli.program import make_app

    program = make_app(words)
    if not words:
        program.help_print([])
        return 0
    try:
        done = program(words, print_error=False, exit_on_error=False)
    except CycloptsError as problem:
        raise parse_errors.translate(problem, words) from problem
    return done if isinstance(done, int) else 0


def _fail(problem: BaseException, said: str, code: int) -> int:
    if os.environ.get("SALIENCE_DEBUG"):
        import traceback

        traceback.print_exception(problem)
    terminal.tell(f"salience: {' '.join(said.split())}\n")
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
    (file or sys.stderr).write(terminal.clean(said))
