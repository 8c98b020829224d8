"""`salience train`: train a classifier so that its maps get better, or go on where a training was killed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from salience import registry
from salience.cli import fit, training
from salience.engine.fit import Loop
from salience.errors import SettingError
from salience.trainers._classifier import Course

if TYPE_CHECKING:
    from salience.trainers._result import Trained

ABOUT = "Train a classifier on labelled pictures, so that it is right and its maps are sparse; the result is a box."


@dataclass(frozen=True)
class Given:
    """What to train, on what, and where it goes."""

    box: str = "zoo:efficientnet-lite0"  # the classifier to begin with, as kind:name; it stays as it is
    data: str | None = None  # pictures with one label each, as kind:name (folder:PATH, csv:FILE …)
    out: str = "salience-train"  # the folder of the run, which becomes the box trained:OUT; a run that is there goes on
    json: bool = False  # print one JSON object, and nothing else


def names() -> tuple[str, ...]:
    """List the trainers of classifiers."""
    return tuple(name for name in registry.names("trainers") if name not in fit.EXPLAINERS)


def app() -> App:
    """Make a command for every trainer of classifiers."""
    made = App(name="train", help=ABOUT, help_format="plaintext")
    for name in names():
        made.command(training.command(type(registry.trainer(name)), parts(name), run), name=name)
    return made


def parts(name: str) -> training.Parts:
    """List the classes whose fields are options, each with its heading."""
    trainer = (type(registry.trainer(name)), f"Settings of {name}")
    return [(Given, "Options"), trainer, (Course, "What is trained"), (Loop, "Training")]


def run(given: Given, trainer: Any, course: Course, loop: Loop) -> int:
    """Train, draw the curve, and say what came out."""
    from salience.cli import files
    from salience.cli.extras import needed
    from salience.draw import learning, overlay
    from salience.explanation import write

    needed("train", "accelerate", *([loop.track] if loop.track == "tensorboard" else []))
    if given.data is None:
        raise SettingError("expected pictures to learn from, got none: give --data, as in folder:PATH or csv:FILE")
    out, data = files.folder(given.out), registry.data(given.data)
    with training.progress() as tell:
        trained = trainer.fit(given.box, data, loop=loop, course=course, out=out, tell=tell)
    curve = write(out / "curve.png", overlay.png(learning.figure(trained.history[1:])))
    _tell(trained, curve, json_wanted=given.json)
    return 0


def _tell(trained: Trained, curve: Path, *, json_wanted: bool) -> None:
    about = json.loads((trained.path / "box.json").read_text(encoding="utf-8"))
    if json_wanted:
        sys.stdout.write(json.dumps({"box": f"trained:{trained.path}", "curve": str(curve), **about}) + "\n")
        return
    before, after = training.figures(about["before"]), training.figures(about["after"])
    sys.stdout.write(
        f"box      trained:{trained.path}\n"
        f"learnt   from {about['pictures']:,} pictures in {about['after']['step']:,} steps, {about['seconds']:.0f} s\n"
        + (f"before   {before}\n" if before else "")
        + f"after    {after}\ncard     {trained.path / 'README.md'}\ncurve    {curve}\n"
    )
