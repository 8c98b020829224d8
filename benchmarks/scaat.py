"""SCAAT-R beside its controls: `python -m benchmarks.scaat train --set mnist --seeds 3 --out runs/scaat`.

`train` makes every network of a set that is not there yet (a training that was killed goes on) and writes two grids that
measure them; `salience bench OUT/SET/maps.toml --trust --out OUT/SET/bench-maps` and the same with `accuracy` measure, and
`table` prints. `cost` times a step of each trainer.

Sets: mnist, mnist-block (a digit above or below a block that says nothing), cifar10, imagenette, steel.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

import salience
from benchmarks import data, scaat_table, small, table
from benchmarks.scaat_pictures import list_specs
from salience import registry, specs
from salience.boxes.torch import TorchBox
from salience.engine.training.loop import Loop
from salience.picture import Preparation
from salience.trainers._classifier.training import Learner, TrainingConfig


@dataclass(frozen=True)
class Set:
    """Pictures, a network, and how it is trained."""

    box: str  # its spec
    config: TrainingConfig
    loop: Loop
    reach: float  # ε
    attacks: int  # T
    learn: int  # pictures
    tested: int  # pictures on which accuracy is measured
    explained: int  # pictures whose maps are measured
    truth: bool = False  # whether it is known where the object is


SMALL = TrainingConfig(scratch=True, epochs=8, rate=3e-3)
SETS = {
    "mnist": Set("py:benchmarks.scaat:digits", SMALL, Loop(batch=128), 0.1, 3, 6000, 1000, 150),
    "mnist-block": Set(  # with ε = 0.1 adversarial training stays at chance: strokes of so small digits are grey
        "py:benchmarks.scaat:blocks", replace(SMALL, epochs=10), Loop(batch=128), 0.05, 3, 6000, 1000, 150, truth=True
    ),
    "cifar10": Set(
        "py:benchmarks.scaat:cifar",
        TrainingConfig(epochs=12, rate=1e-4, mirror=True, shift=3),
        Loop(batch=32),
        1 / 255,
        3,
        1000,
        500,
        150,
    ),
    "imagenette": Set(
        "py:benchmarks.scaat:objects",
        TrainingConfig(epochs=4, rate=1e-4, mirror=True),
        *(Loop(batch=16), 4 / 255, 1, 1000, 200, 24, True),
    ),
    "steel": Set(
        "py:benchmarks.scaat:surfaces",
        TrainingConfig(epochs=10, rate=5e-4, mirror=True),
        *(Loop(batch=16), 4 / 255, 3, 120, 120, 24, True),
    ),
}
ACCURACY = ("accuracy", "accuracy/noise", "accuracy/pgd?epsilon={reach:.4g}")
MAPS = (
    "sparsity/gini",
    "sparsity/effective-pixels",
    "deletion?step={step}",
    "insertion?step={step}",
    "road/morf-2022",
    "road/lerf-2022",
    "stability/noise?sigma=0.05",
)


def list_trainings(chosen: Set) -> dict[str, Any]:
    """List the trainings: SCAAT-R, what it is made of, and the ablation of its mask."""
    given = {"epsilon": chosen.reach, "attack_steps": chosen.attacks}
    scaat = registry.make_trainer("scaat", **given)
    return {
        "plain": registry.make_trainer("plain"),
        "sgt": registry.make_trainer("saliency-guided"),
        "pgd": registry.make_trainer("adversarial", **given),
        "trades": registry.make_trainer("trades", **given),
        "scaat": scaat,
        "scaat-strong": replace(scaat, epsilon=2 * chosen.reach),
        "scaat-random": replace(scaat, mask="random"),
        "scaat-high": replace(scaat, mask="high"),
    }


def main() -> None:
    """Do what was asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("task", choices=["train", "table", "sheet", "cost"])
    options.add_argument("--set", choices=list(SETS), default="mnist")
    options.add_argument("--trainings", default="", help="of the trainings, with commas; none: all")
    options.add_argument("--maps", default="gradient,smooth-grad", help="methods whose maps are measured")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--out", type=Path, default=Path("runs/scaat"))
    given = options.parse_args()
    if given.task == "table":
        scaat_table.print_tables(given.set, given.out / given.set)
    else:
        {"train": train, "sheet": draw_sheet, "cost": print_costs}[given.task](given)


def train(given: argparse.Namespace) -> None:
    """Train what is missing."""
    chosen, place = SETS[given.set], given.out / given.set
    learn, _ = list_specs(given.set, chosen.learn, place / "data")
    made = list_trainings(chosen)
    for seed, name in itertools.product(range(given.seeds), given.trainings.split(",") if given.trainings else made):
        folder = place / f"{name}-{seed}"
        if not (folder / "box.json").exists():
            loop = replace(chosen.loop, seed=seed, check=0, save=50)
            trained = made[name].fit(chosen.box, learn, loop=loop, config=chosen.config, out=folder)
            last = trained.history[-1]
            print(f"{given.set} {name} {seed}: {last['step']} steps, loss {last['loss']:.3f}", flush=True)
    write_grid(given.set, place, given.maps.split(","))


def write_grid(name: str, place: Path, seen: list[str]) -> None:
    """Write two grids over all networks that are there: accuracy on many pictures, and maps on fewer."""
    chosen = SETS[name]
    _, test = list_specs(name, chosen.learn, place / "data")
    height, width = specs.open_box(chosen.box).size
    there = {each.parent.name: f"trained:{each.parent}?of={chosen.box}" for each in sorted(place.glob("*/box.json"))}
    if name == "mnist":  # trained elsewhere, one of them adversarially: for reference
        there |= {f"lenet5 {each}-0": f"py:benchmarks.scaat:lenet_{each}" for each in ("cln", "adv")}
    maps = [each.format(step=max(1, height * width // 28)) for each in MAPS] + (["energy"] if chosen.truth else [])
    asked = {
        "accuracy": ([each.format(reach=chosen.reach) for each in ACCURACY], ["random-order"], chosen.tested),
        "maps": (maps, [*seen, "random-order"], chosen.explained),
    }
    for file, (measures, methods, count) in asked.items():
        lines = [f"measures = {json.dumps(measures)}", 'target = "label"', "batch = 16", "controls = false", "", "[methods]"]
        lines += [*(f"{each} = {{}}" for each in methods), "", "[boxes]"]
        lines += [f'"{each}" = "{spec}"' for each, spec in there.items()]
        lines += ["", f"[data.{name}]", f'spec = "{test}"', f"pictures = {count}", "draw = 0", ""]
        (place / f"{file}.toml").write_text("\n".join(lines), encoding="utf-8")


def draw_sheet(given: argparse.Namespace) -> None:
    """Draw the maps of a few test pictures, a column for each training of the first seed: OUT/SET/METHOD.png."""
    from salience.draw import overlay
    from salience.draw import sheet as sheets

    chosen, place = SETS[given.set], given.out / given.set
    samples = specs.open_data(list_specs(given.set, chosen.learn, place / "data")[1])
    shown = [samples[round(number)] for number in np.linspace(0, len(samples) - 1, 8)]
    boxes = {
        name: specs.open_box(f"trained:{place / name}-0", of=chosen.box)
        for name in list_trainings(chosen)
        if (place / f"{name}-0" / "box.json").exists()
    }
    for method in ("gradient", "smooth-grad"):
        rows = [
            [salience.explain(box, one.picture, method, target=find_target(one, box)) for box in boxes.values()]
            for one in shown
        ]
        (place / f"{method}.png").write_bytes(overlay.png(sheets.sheet(rows, titles=list(boxes))))


def find_target(sample: Any, box: Any) -> int:
    """Find the class of a sample's label."""
    label = sample.labels[0]
    return int(label) if label not in box.classes else box.classes.index(label)


def print_costs(given: argparse.Namespace) -> None:
    """Time a step of each trainer, and of SCAAT-R by T, in turn; print medians over ordinary training."""
    chosen = SETS[given.set]
    learn, _ = list_specs(given.set, chosen.learn, given.out / given.set / "data")
    trainers = list_trainings(chosen)
    trainers = {each: trainers[each] for each in ("plain", "sgt", "pgd", "trades")} | {
        f"scaat, T = {steps}": replace(trainers["scaat"], attack_steps=steps) for steps in (1, 2, 3, 5, 10)
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    box: Any = specs.open_box(chosen.box)
    for _, (name, how) in itertools.product(range(6), trainers.items()):
        learner = make_step(how, box, learn, chosen)
        began = time.perf_counter()
        learner()
        seconds[name].append(time.perf_counter() - began)
    print(table.format_heading(None, f"{box.name}, {chosen.loop.batch} pictures a step, float32"))
    print("| training | seconds a step | × plain |\n|---|---|---|")
    for name, each in seconds.items():
        print(f"| {name} | {median(each[1:]):.3f} | {median(each[1:]) / median(seconds['plain'][1:]):.2f} |")


def make_step(how: Any, box: Any, learn: str, chosen: Set) -> Callable[[], None]:
    """Make one step of a training."""
    from salience.engine.training.sample_order import list_samples
    from salience.trainers._classifier.split import Split
    from salience.trainers._pictures import Pictures

    shown = Pictures(learn, box)
    split = Split(shown, [0] * len(shown), list(range(len(shown))), [])
    learner = Learner(how, box.reinitialise(()), split, chosen.config, replace(chosen.loop, steps=10))
    batch = list_samples(0, chosen.loop.batch, learner.count, 0)
    learner.module.train()

    def step() -> None:
        loss, _ = learner.loss(learner.module, batch)
        loss.backward()
        learner.optimiser.step()

    return step


def convolutional(height: int, width: int) -> TorchBox:
    """Make the network of the specification: two convolutions, two dense layers, no batch norm."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    ready = Preparation((height, width), None, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return TorchBox(net, ready, [str(digit) for digit in range(10)], name="small-cnn", backend="exact", channels=1)


def digits() -> TorchBox:
    """Make it for digits."""
    return convolutional(28, 28)


def blocks() -> TorchBox:
    """Make it for a digit and a block."""
    return convolutional(28, 14)


def objects() -> TorchBox:
    """Load EfficientNet-Lite0 for pictures of 128 pixels, so that more steps fit into the time."""
    known = specs.open_box("default", backend="exact")
    assert isinstance(known, TorchBox)  # noqa: S101  # so that it can be made again
    ready = replace(known.preparation, size=(128, 128), resize=146)
    return TorchBox(known.module, ready, known.classes, name="efficientnet-lite0-128", backend="exact")


def surfaces() -> TorchBox:
    """Give it a new head for six kinds of defect."""
    torch.manual_seed(0)
    known = objects()
    known.module.classifier = nn.Linear(known.module.classifier.in_features, 6)
    names = sorted({row["class_name"] for row in data.read_table("localisation/neu_det_boxes.csv")})
    ready = replace(known.preparation, resize=None, filter="bilinear")
    return TorchBox(known.module, ready, names, name="efficientnet-lite0-steel", backend="exact")


def lenet_cln() -> Any:
    """Load LeNet-5 with ordinary training."""
    return small.lenet("cln", backend="exact")


def lenet_adv() -> Any:
    """Load LeNet-5 with adversarial training."""
    return small.lenet("adv", backend="exact")


def cifar() -> Any:
    """Load the trained ResNet-20."""
    return small.cifar(20, backend="exact")


if __name__ == "__main__":
    main()
