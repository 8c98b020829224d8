"""`salience report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from salience.cli import terminal


def report(
    run: Annotated[Path, Parameter(help="the folder of a run of `salience bench`, finished or not")],
    /,
    *,
    out: Annotated[Path | None, Parameter(help="the page; none given: report.html in the run's folder")] = None,
) -> int:
    """Make one page of a run that needs nothing else, with its tables as CSV and Markdown beside it."""
    from salience.bench import report as reports
    from salience.cli.extras import expect_extra

    expect_extra("bench", "pyarrow", "jinja2", "scipy")
    terminal.say(f"{reports.write_report(run, out)}\n")
    return 0
