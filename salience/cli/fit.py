"""`salience fit`: train an explainer, or go on where a training was killed."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from salience import registry
from salience.cli.options import flags
from salience.engine.fit import Loop, Row, Tell
from salience.errors import SettingError

if TYPE_CHECKING:
    from salience.trainers.p_tame import Fitted

ABOUT = "Train an explainer for a box, on pictures; labels are not looked at."
EXPLAINERS = ("p-tame",)
SHOWN = ("loss", "ce", "area", "own", "others", "lerf", "morf", "average drop")


@dataclass(frozen=True)
class Given:
    """What to train for, on what, and where it goes."""

    box: str = "zoo:efficientnet-lite0"  # the classifier to be explained, as kind:name
    data: str | None = None  # pictures to learn from, as kind:name (folder:PATH, csv:FILE …); labels are not looked at
    out: str = "salience-fit"  # the folder of the run; a run that is there goes on
    keep: bool = True  # also keep the explainer where `salience explain --method p-tame` finds it by its box
    json: bool = False  # print one JSON object, and nothing else


def app() -> App:
    """Make a command for every trainer of explainers."""
    made = App(name="fit", help=ABOUT, help_format="plaintext")
    for name in EXPLAINERS:
        made.command(command(name), name=name)
    return made


def command(name: str) -> Callable[..., int]:
    """Make the command of one trainer: its fields, and those of the training loop, are options."""
    options = [flags(list(registry.settings(cls)), title) for cls, title in parts(name)]
    ours, loops = ({each.name for each in fields(cls)} for cls in (Given, Loop))

    def fit(**given: Any) -> int:
        common = Given(**{key: given.pop(key) for key in list(given) if key in ours})
        loop = Loop(**{key: given.pop(key) for key in list(given) if key in loops})
        return run(registry.trainer(name, **given), loop, common)

    fit.__doc__ = inspect.getdoc(type(registry.trainer(name)))
    fit.__signature__ = Signature([each for group in options for each in group])  # type: ignore[attr-defined]  # what the parser reads
    fit.__annotations__ = {each.name: each.annotation for group in options for each in group} | {"return": int}
    return fit


def parts(name: str) -> list[tuple[type[Any], str]]:
    """List the classes whose fields are options, each with its heading."""
    return [(Given, "Options"), (type(registry.trainer(name)), f"Settings of {name}"), (Loop, "Training")]


def run(trainer: Any, loop: Loop, given: Given) -> int:
    """Train, draw the curve, and say what came out."""
    from salience import api
    from salience.cli import files
    from salience.cli.extras import needed
    from salience.draw import learning, overlay
    from salience.explanation import write

    needed("train", "accelerate", *([loop.track] if loop.track == "tensorboard" else []))
    if given.data is None:
        raise SettingError("expected pictures to learn from, got none: give --data, as in folder:PATH or csv:FILE")
    out = files.folder(given.out)
    pictures = registry.data(given.data)
    with _progress() as tell:
        fitted = trainer.fit(api.load(given.box), pictures, loop=loop, out=out, keep=given.keep, tell=tell)
    curve = write(out / "curve.png", overlay.png(learning.figure(fitted.history)))
    _tell(fitted, curve, json_wanted=given.json)
    return 0


def _tell(fitted: Fitted, curve: Path, *, json_wanted: bool) -> None:
    about, last = fitted.explainer.about, fitted.history[-1]
    if json_wanted:
        facts = {"explainer": str(fitted.path), "curve": str(curve), "box": dict(about.box), "classes": about.names}
        sys.stdout.write(json.dumps(facts | {"trained": dict(about.trained)}, default=str) + "\n")
        return
    seconds, names = about.trained["seconds"], [name.partition(",")[0] for name in about.names]
    sys.stdout.write(
        f"explainer  {fitted.path}\n"
        f"knows      {len(about.classes)} classes of {about.box['name']}: {', '.join(names)}\n"
        f"learnt     from {about.trained['pictures']:,} pictures in {last['step']:,} steps, {seconds:.0f} s\n"
        f"at last    {figures(last)}\n"
        f"curve      {curve}\n"
    )


@contextmanager
def _progress() -> Iterator[Tell]:
    """Show a bar with the time left; where nobody watches, a line a look at held-out pictures."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)

    def line(step: int, steps: int, row: Row) -> None:
        if "road" in row or step == steps:
            sys.stderr.write(f"step {step} of {steps}: {figures(row)}\n")

    if not console.is_terminal:
        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("begins", total=None)

        def tick(step: int, steps: int, row: Row) -> None:
            bar.update(task, completed=step, total=steps, description=f"loss {row['loss']:.3f}")
            if "road" in row:
                bar.console.print(f"step {step}: {figures(row)}", highlight=False)

        yield tick


def figures(row: Row) -> str:
    """Say a row in a line."""
    return ", ".join(f"{name} {row[name]:.3f}" for name in SHOWN if name in row)
