"""What `salience explain` does once its command line is read: torch is imported here, and not for the help."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from salience.cli import files, terminal
from salience.cli.console import Console
from salience.cli.options import Options
from salience.cli.output import print_explanation
from salience.describe.explanation import collect_facts
from salience.engine import target as targets
from salience.engine.query.budget import Budget
from salience.explanation import Explanation
from salience.picture import read
from salience.tasks.choose_method import choose_method
from salience.tasks.explain import explain
from salience.tasks.load import load
from salience.types import QuestionBox

NO_NAME = re.compile(r"[^\w-]+")  # what a place's name may not bring into a file's
READING = ("white", "black", "bands", "rgb", "page")  # the options of `picture.read`


def explain_pictures(image: list[str], options: Options, settings: dict[str, Any]) -> int:
    """Check everything that can be checked, then explain one picture after the other."""
    method = choose_method(options.method, options.seed, settings)
    Budget.of(options.budget)
    files.check_folder(options.out)
    how = {name: given for name in READING if (given := vars(options)[name]) is not None}
    pictures = files.gather(image, **how) if image else [files.SAMPLE]
    box = load(options.box, **({} if options.backend == "auto" else {"backend": options.backend}))
    target = options.target if options.versus is None else (options.target, options.versus)
    if not isinstance(box, QuestionBox):  # its targets are places of a picture
        targets.resolve(target, [0.0] * len(box.classes), box.classes)
    if not image:
        terminal.tell(f"No picture given: explaining a sample, {files.ABOUT_SAMPLE}.\n")
    console = Console()
    for path, stem in zip(pictures, files.name_files(pictures), strict=True):
        with _progress(path.name) as progress:
            explained = explain(
                box,
                read(path, **how),
                method,
                target=target,
                budget=options.budget,
                tolerance=options.tolerance,
                batch=options.batch,
                progress=progress,
                band_shares=options.band_shares,
            )
        each = explained if isinstance(explained, list) else [explained]  # of the places that a model found
        for why in each:
            own = f"{stem}.{NO_NAME.sub('-', why.target.name)[:60]}" if isinstance(explained, list) else stem
            _write(why if options.photograph else why.without_photograph(), path, own, options, console)
    return 0


def _write(why: Explanation, path: Path, stem: str, options: Options, console: Console) -> None:
    """Write the files of an explanation, and print it."""
    facts = collect_facts(why, str(path) if options.photograph else why.image)
    written = files.write_files(why, Path(options.out), stem, facts, record=options.record)
    if options.json:
        terminal.say(json.dumps(facts | {"files": [str(each) for each in written]}, allow_nan=False) + "\n")
        sys.stdout.flush()
    else:
        print_explanation(console, why, str(path), [str(each) for each in written])


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """Show a bar on standard error while something is explained; nothing where nobody watches."""
    console = Console(err=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("passes"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda passes, expected: bar.update(task, completed=passes, total=expected)
