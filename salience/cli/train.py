"""`salience train`: train a classifier so that its maps get better, or go on where a training was killed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App
from typing_extensions import Doc

from salience import registry, specs
from salience.cli import fit, terminal, training
from salience.engine.training.loop import Loop
from salience.errors import SettingError
from salience.trainers._classifier.config import TrainingConfig

if TYPE_CHECKING:
    from salience.trainers._classifier.output import Trained

ABOUT = "Train a classifier on labelled pictures, so that it is right and its maps are sparse; the result is a box."


@dataclass(frozen=True)
class TrainOptions:
    """What to train, on what, and where it goes."""

    box: Annotated[str, Doc("the classifier to begin with, as kind:name; it stays as it is")] = "zoo:efficientnet-lite0"
    data: Annotated[str | None, Doc("pictures with one label each, as kind:name (folder:PATH, csv:FILE …)")] = None
    out: Annotated[
        str,
        Doc("the folder of the run, which becomes the box trained:OUT; a run that is there goes on"),
    ] = "salience-train"
    json: Annotated[bool, Doc("print one JSON object, and nothing else")] = False


def list_trainers() -> tuple[str, ...]:
    """List the trainers of classifiers."""
    return tuple(name for name in registry.list_names("trainers") if name not in fit.EXPLAINERS)


def make_app() -> App:
    """Make a command for every trainer of classifiers."""
    made = App(name="train", help=ABOUT, help_format="plaintext")
    for name in list_trainers():
        made.command(training.make_command(type(registry.make_trainer(name)), list_parts(name), run), name=name)
    return made


def list_parts(name: str) -> training.Parts:
    """List the classes whose fields are options, each with its heading."""
    trainer = (type(registry.make_trainer(name)), f"Settings of {name}")
    return [(TrainOptions, "Options"), trainer, (TrainingConfig, "What is trained"), (Loop, "Training")]


def run(given: TrainOptions, trainer: Any, config: TrainingConfig, loop: Loop) -> int:
    """Train, draw the curve, and say what came out."""
    from salience.cli import files
    from salience.cli.extras import expect_extra
    from salience.draw import learning, overlay
    from salience.files import write_whole

    expect_extra("train", "accelerate", *([loop.track] if loop.track == "tensorboard" else []))
    if given.data is None:
        raise SettingError("expected pictures to learn from, got none: give --data, as in folder:PATH or csv:FILE")
    out, data = files.check_folder(given.out), specs.open_data(given.data)
    with training.show_progress() as tell:
        trained = trainer.fit(given.box, data, loop=loop, config=config, out=out, tell=tell)
    curve = write_whole(out / "curve.png", overlay.png(learning.figure(trained.history[1:])))
    _print_result(trained, curve, json_wanted=given.json)
    return 0


def _print_result(trained: Trained, curve: Path, *, json_wanted: bool) -> None:
    from salience.trainers._classifier.output import write_spec

    about = json.loads((trained.path / "box.json").read_text(encoding="utf-8"))
    spec = write_spec(trained.path, about["of"])
    if json_wanted:
        terminal.say(json.dumps({"box": spec, "curve": str(curve), **about}) + "\n")
        return
    before, after = training.describe_row(about["before"]), training.describe_row(about["after"])
    terminal.say(
        f"box      {spec}\n"
        f"learnt   from {about['pictures']:,} pictures in {about['after']['step']:,} steps, {about['seconds']:.0f} s\n"
        + (f"before   {before}\n" if before else "")
        + f"after    {after}\ncard     {trained.path / 'README.md'}\ncurve    {curve}\n"
    )
