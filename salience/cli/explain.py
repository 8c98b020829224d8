"""`salience explain`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from salience import registry
from salience.cli import files
from salience.cli.options import Options, flags
from salience.cli.output import print_explanation
from salience.describe.explanation import collect_facts
from salience.engine import target as targets
from salience.engine.query.budget import Budget
from salience.errors import BoxError, SalienceError
from salience.tasks.choose_method import DEFAULT, choose_method
from salience.tasks.explain import explain
from salience.tasks.load import load
from salience.types import BlackBox


def command(method: str | None) -> Callable[..., int]:
    """Make the command for one method: its fields are options."""
    name, changed = (method, {}) if method else (DEFAULT["method"], DEFAULT)
    cls = registry.find_method(name)
    own = [each for each in registry.list_settings(cls) if each.name not in Options.__dataclass_fields__]
    own = [replace(each, default=changed.get(each.name, each.default)) for each in own]
    options = flags(list(registry.list_settings(Options)), "Options")
    options += flags(own, f"Settings of {registry.name_of(cls)}")

    def explain(*image: str, **given: Any) -> int:
        """Explain pictures: draw what the classifier saw in them.

        Give files or folders; without any, a sample photograph is explained.
        For each picture the map is drawn beside the photograph into OUT/NAME.METHOD.png, with a record (.salience)
        and the numbers (.json).

        Parameters
        ----------
        image
            picture files, or folders of them
        """
        common = {key: given.pop(key) for key in list(given) if key in Options.__dataclass_fields__}
        return run(list(image), Options(**common), given)

    pictures = Argument("image", Argument.VAR_POSITIONAL, annotation=str)
    explain.__signature__ = Signature([pictures, *options])  # type: ignore[attr-defined]  # what the parser reads
    explain.__annotations__ = {each.name: each.annotation for each in (pictures, *options)} | {"return": int}
    return explain


def run(image: list[str], options: Options, settings: dict[str, Any]) -> int:
    """Check everything that can be checked, then explain one picture after the other."""
    method = choose_method(options.method, options.seed, settings)
    Budget.of(options.budget)
    out = files.check_folder(options.out)
    pictures = files.gather(image) if image else [files.SAMPLE]
    box = _loaded(options)
    target = options.target if options.versus is None else (options.target, options.versus)
    targets.resolve(target, [0.0] * len(box.classes), box.classes)
    if not image:
        sys.stderr.write(f"No picture given: explaining a sample, {files.ABOUT_SAMPLE}.\n")
    console = Console(file=sys.stdout)
    for path, stem in zip(pictures, files.name_files(pictures), strict=True):
        with _progress(path.name) as progress:
            why = explain(
                box,
                path,
                method,
                target=target,
                budget=options.budget,
                tolerance=options.tolerance,
                batch=options.batch,
                progress=progress,
            )
        facts = collect_facts(why, str(path))
        kept = [str(each) for each in files.write_files(why, out, stem, facts, record=options.record)]
        if options.json:
            sys.stdout.write(json.dumps(facts | {"files": kept}, allow_nan=False) + "\n")
            sys.stdout.flush()
        else:
            print_explanation(console, why, str(path), kept)
    return 0


def _loaded(options: Options) -> BlackBox:
    """Load the box; whatever its own code raises is said in one sentence."""
    given = {} if options.backend == "auto" else {"backend": options.backend}
    try:
        return load(options.box, **given)
    except SalienceError:
        raise
    except Exception as problem:
        raise BoxError(f"expected to load the box {options.box}, got {type(problem).__name__}: {problem}") from problem


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """Show a bar on standard error while something is explained; nothing where nobody watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("passes"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda passes, expected: bar.update(task, completed=passes, total=expected)
