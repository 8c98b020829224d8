"""What `salience fit` and `salience train` share: a command a trainer, and what is said while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from inspect import Signature
from typing import Any

from salience import registry
from salience.cli import terminal
from salience.cli.options import make_flags
from salience.describe.manual import read_manual
from salience.engine.training.history import Row
from salience.engine.training.loop import Tell

SHOWN = ("loss", "ce", "area", "kl", "own", "others", "lerf", "morf", "average drop", "accuracy", "gini")
HELD = ("road", "accuracy")  # in a row: held-out pictures were looked at

Parts = Sequence[tuple[type[Any], str]]
"""Classes whose fields are options, each with its heading."""


def make_command(about: type[Any], parts: Parts, run: Callable[..., int]) -> Callable[..., int]:
    """Make a command: what was typed becomes one object of each class, which `run` takes in their order."""
    options = [make_flags(list(registry.list_settings(cls)), title) for cls, title in parts]

    def run_typed(**given: Any) -> int:
        return run(*(cls(**{each.name: given[each.name] for each in fields(cls) if each.name in given}) for cls, _ in parts))

    run_typed.__doc__ = read_manual(about)
    run_typed.__signature__ = Signature([each for group in options for each in group])  # type: ignore[attr-defined]  # what the parser reads
    run_typed.__annotations__ = {each.name: each.annotation for group in options for each in group} | {"return": int}
    return run_typed


@contextmanager
def show_progress() -> Iterator[Tell]:
    """Show a bar with the time left; where nobody watches, a line a look at held-out pictures."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from salience.cli.console import Console

    console = Console(err=True)

    def line(step: int, steps: int, row: Row) -> None:
        if has_checks(row) or step == steps:
            terminal.tell(f"step {step} of {steps}: {describe_row(row)}\n")

    if not console.is_terminal:
        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("begins", total=None)

        def tick(step: int, steps: int, row: Row) -> None:
            bar.update(task, completed=step, total=steps, description=f"loss {row['loss']:.3f}")
            if has_checks(row):
                bar.console.print(f"step {step}: {describe_row(row)}", highlight=False)

        yield tick


def has_checks(row: Mapping[str, float]) -> bool:
    """Say whether a row has figures of held-out pictures."""
    return any(name in row for name in HELD)


def describe_row(row: Mapping[str, float]) -> str:
    """Say a row in a line."""
    return ", ".join(f"{name} {row[name]:.3f}" for name in SHOWN if name in row)
