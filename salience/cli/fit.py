"""`salience fit`: train an explainer, or go on where a training was killed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App
from typing_extensions import Doc

from salience import registry, specs
from salience.cli import terminal, training
from salience.engine.training.loop import Loop
from salience.errors import SettingError

if TYPE_CHECKING:
    from salience.trainers._p_tame.fitted import Fitted

ABOUT = "Train an explainer for a box, on pictures; labels are not looked at."
EXPLAINERS = ("p-tame",)


@dataclass(frozen=True)
class FitOptions:
    """What to train for, on what, and where it goes."""

    box: Annotated[str, Doc("the classifier to be explained, as kind:name")] = "zoo:efficientnet-lite0"
    data: Annotated[
        str | None,
        Doc("pictures to learn from, as kind:name (folder:PATH, csv:FILE …); labels are not looked at"),
    ] = None
    out: Annotated[str, Doc("the folder of the run; a run that is there goes on")] = "salience-fit"
    keep: Annotated[bool, Doc("also keep the explainer where `salience explain --method p-tame` finds it by its box")] = True
    json: Annotated[bool, Doc("print one JSON object, and nothing else")] = False


def make_app() -> App:
    """Make a command for every trainer of explainers."""
    made = App(name="fit", help=ABOUT, help_format="plaintext")
    for name in EXPLAINERS:
        made.command(training.make_command(type(registry.make_trainer(name)), list_parts(name), run), name=name)
    return made


def list_parts(name: str) -> training.Parts:
    """List the classes whose fields are options, each with its heading."""
    return [(FitOptions, "Options"), (type(registry.make_trainer(name)), f"Settings of {name}"), (Loop, "Training")]


def run(given: FitOptions, trainer: Any, loop: Loop) -> int:
    """Train, draw the curve, and say what came out."""
    from salience.cli import files
    from salience.cli.extras import expect_extra
    from salience.draw import learning, overlay
    from salience.files import write_whole
    from salience.tasks.load import load

    expect_extra("train", "accelerate", *([loop.track] if loop.track == "tensorboard" else []))
    if given.data is None:
        raise SettingError("expected pictures to learn from, got none: give --data, as in folder:PATH or csv:FILE")
    out = files.check_folder(given.out)
    pictures = specs.open_data(given.data)
    with training.show_progress() as tell:
        fitted = trainer.fit(load(given.box), pictures, loop=loop, out=out, keep=given.keep, tell=tell)
    curve = write_whole(out / "curve.png", overlay.png(learning.figure(fitted.history)))
    _print_result(fitted, curve, json_wanted=given.json)
    return 0


def _print_result(fitted: Fitted, curve: Path, *, json_wanted: bool) -> None:
    about, last = fitted.explainer.about, fitted.history[-1]
    if json_wanted:
        facts = {"explainer": str(fitted.path), "curve": str(curve), "box": dict(about.box), "classes": about.names}
        terminal.say(json.dumps(facts | {"trained": dict(about.trained)}, default=str) + "\n")
        return
    seconds, names = about.trained["seconds"], [name.partition(",")[0] for name in about.names]
    terminal.say(
        f"explainer  {fitted.path}\n"
        f"knows      {len(about.classes)} classes of {about.box['name']}: {', '.join(names)}\n"
        f"learnt     from {about.trained['pictures']:,} pictures in {last['step']:,} steps, {seconds:.0f} s\n"
        f"at last    {training.describe_row(last)}\n"
        f"curve      {curve}\n"
    )
