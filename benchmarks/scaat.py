"""SCAAT-R beside its controls: `python -m benchmarks.scaat train --set mnist --seeds 3 --out runs/scaat`.

`train` makes every network of a set that is not there yet (a training that was killed goes on) and writes the grid that
measures them; then `salience bench OUT/SET/grid.toml --out OUT/SET/bench` measures, and `table` prints. `cost` times a
step of each trainer.

Sets: mnist, mnist-block (a digit above or below a block that says nothing), cifar10, imagenette, steel.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks import data, small, table
from salience import registry
from salience.bench import book
from salience.boxes.torch import TorchBox
from salience.engine.fit import Loop
from salience.picture import Preparation
from salience.trainers._classifier import Course, Learner


@dataclass(frozen=True)
class Set:
    """Pictures, a network, and how it is trained."""

    box: str  # its spec
    course: Course
    loop: Loop
    reach: float  # ε
    attacks: int  # T
    learn: int  # pictures
    test: int  # pictures that are measured


SMALL = Course(scratch=True, epochs=6, rate=3e-3)
HEAD = ("classifier", "features.24", "features.26", "features.28")
SETS = {
    "mnist": Set("py:benchmarks.scaat:digits", SMALL, Loop(batch=128), 0.1, 3, 8000, 150),
    "mnist-block": Set("py:benchmarks.scaat:blocks", replace(SMALL, epochs=8), Loop(batch=128), 0.1, 3, 8000, 150),
    "cifar10": Set(
        "py:benchmarks.scaat:cifar", Course(epochs=4, rate=3e-4, mirror=True, shift=3), Loop(batch=32), 8 / 255, 3, 1000, 150
    ),
    "imagenette": Set("default", Course(epochs=2, rate=5e-5, mirror=True), Loop(batch=16), 4 / 255, 1, 1000, 40),
    "steel": Set(
        "py:benchmarks.data:vgg16_steel",
        Course(epochs=2, rate=1e-4, mirror=True, only=HEAD),
        *(Loop(batch=8), 4 / 255, 1, 120, 20),
    ),
}
MEASURES = (
    "accuracy",
    "accuracy/noise",
    "accuracy/pgd?epsilon={reach:.4g}",
    "sparsity/gini",
    "sparsity/effective-pixels",
    "deletion?step={step}",
    "insertion?step={step}",
    "road/morf-2022",
    "road/lerf-2022",
    "stability/noise?sigma=0.05",
)


def hows(chosen: Set) -> dict[str, Any]:
    """List the trainings: SCAAT-R, what it is made of, and the ablation of its mask."""
    given = {"epsilon": chosen.reach, "attack_steps": chosen.attacks}
    scaat = registry.trainer("scaat", **given)
    return {
        "plain": registry.trainer("plain"),
        "sgt": registry.trainer("saliency-guided"),
        "pgd": registry.trainer("adversarial", **given),
        "trades": registry.trainer("trades", **given),
        "scaat": scaat,
        "scaat-strong": replace(scaat, epsilon=2 * chosen.reach),
        "scaat-random": replace(scaat, mask="random"),
        "scaat-high": replace(scaat, mask="high"),
    }


def main() -> None:
    """Do what was asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("deed", choices=["train", "table", "cost"])
    options.add_argument("--set", choices=list(SETS), default="mnist")
    options.add_argument("--hows", default="", help="of the trainings, with commas; none: all")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--out", type=Path, default=Path("runs/scaat"))
    given = options.parse_args()
    {"train": train, "table": told, "cost": cost}[given.deed](given)


def train(given: argparse.Namespace) -> None:
    """Train what is missing."""
    chosen, place = SETS[given.set], given.out / given.set
    learn, _ = pictures(given.set, place / "data")
    made = hows(chosen)
    for seed, name in itertools.product(range(given.seeds), given.hows.split(",") if given.hows else made):
        folder = place / f"{name}-{seed}"
        if not (folder / "box.json").exists():
            loop = replace(chosen.loop, seed=seed, check=0, save=50)
            trained = made[name].fit(chosen.box, learn, loop=loop, course=chosen.course, out=folder)
            last = trained.history[-1]
            print(f"{given.set} {name} {seed}: {last['step']} steps, loss {last['loss']:.3f}", flush=True)
    grid(given.set, place)


def grid(name: str, place: Path) -> None:
    """Write the grid that measures all networks that are there."""
    chosen = SETS[name]
    _, test = pictures(name, place / "data")
    height, width = registry.box(chosen.box).size
    specs = [each.format(reach=chosen.reach, step=max(1, height * width // 28)) for each in MEASURES]
    specs += ["energy"] if name in ("mnist-block", "imagenette", "steel") else []
    there = sorted(each.parent for each in place.glob("*/box.json"))
    lines = [f"measures = {specs}".replace("'", '"'), 'target = "label"', "batch = 16", "", "[methods]", "gradient = {}"]
    lines += ["smooth-grad = {}", "", "[boxes]", *(f'{each.name} = "trained:{each}"' for each in there)]
    if name == "mnist":  # trained elsewhere, one of them adversarially: for reference
        lines += [f'"lenet5 {each}-0" = "py:benchmarks.scaat:lenet_{each}"' for each in ("cln", "adv")]
    lines += ["", f"[data.{name}]", f'spec = "{test}"', f"pictures = {chosen.test}", "draw = 0", ""]
    (place / "grid.toml").write_text("\n".join(lines), encoding="utf-8")


def told(given: argparse.Namespace) -> None:
    """Print a row a training: means over pictures, then over seeds, with half the range over seeds."""
    place = given.out / given.set
    found: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in itertools.chain.from_iterable(
        book.rows(each) for each in sorted((place / "bench" / "cells").glob("*.jsonl"))
    ):
        how, _, seed = row["box"].rpartition("-")
        if row.get("value") is not None and not np.isnan(row["value"]):
            found[how, row["method"]][row["measure"]][seed].append(row["value"])
    counts = {len(each) for cell in found.values() for seeds in cell.values() for each in seeds.values()}
    print(table.heading(None, f"{given.set}, N = {max(counts, default=0)} pictures, target: the label"))
    for method in ("gradient", "smooth-grad"):
        print(f"\n{method}\n")
        lay(found, method)


def lay(found: Any, method: str) -> None:
    """Print the table of one method; a random order on the same network stands beside deletion."""
    rows = {how: cells for (how, each), cells in found.items() if each == method}
    columns = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    print("| training | " + " | ".join([*columns, "random − deletion"]) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for how, cells in rows.items():
        said = [spread([fmean(each) for each in cells[name].values()]) for name in columns]
        gone = next(name for name in columns if name.startswith("deletion"))
        chance = found[how, "random-order"][gone]
        said.append(spread([fmean(chance[seed]) - fmean(each) for seed, each in cells[gone].items()]))
        print(f"| {how} | " + " | ".join(said) + " |")


def spread(values: list[float]) -> str:
    """Say a mean and half the range."""
    half = (max(values) - min(values)) / 2
    return f"{fmean(values):.3f} ± {half:.3f}" if fmean(values) < 100 else f"{fmean(values):,.0f} ± {half:,.0f}"


def cost(given: argparse.Namespace) -> None:
    """Time a step of each trainer, and of SCAAT-R by T, in turn; print medians over ordinary training."""
    chosen = SETS[given.set]
    learn, _ = pictures(given.set, given.out / given.set / "data")
    trainers = hows(chosen)
    trainers = {each: trainers[each] for each in ("plain", "sgt", "pgd", "trades")} | {
        f"scaat, T = {steps}": replace(trainers["scaat"], attack_steps=steps) for steps in (1, 2, 3, 5, 10)
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    box: Any = registry.box(chosen.box)
    for _, (name, how) in itertools.product(range(6), trainers.items()):
        learner = stepper(how, box, learn, chosen)
        began = time.perf_counter()
        learner()
        seconds[name].append(time.perf_counter() - began)
    print(table.heading(None, f"{box.name}, {chosen.loop.batch} pictures a step, float32"))
    print("| training | seconds a step | × plain |\n|---|---|---|")
    for name, each in seconds.items():
        print(f"| {name} | {median(each[1:]):.3f} | {median(each[1:]) / median(seconds['plain'][1:]):.2f} |")


def stepper(how: Any, box: Any, learn: str, chosen: Set) -> Callable[[], None]:
    """Make one step of a training."""
    from salience.engine.visits import visits
    from salience.trainers._classes import Lesson
    from salience.trainers._pictures import Pictures

    shown = Pictures(learn, box)
    lesson = Lesson(shown, [0] * len(shown), list(range(len(shown))), [])
    learner = Learner(how, box.redrawn(()), lesson, chosen.course, replace(chosen.loop, steps=10))
    batch = visits(0, chosen.loop.batch, learner.count, 0)
    learner.module.train()

    def step() -> None:
        loss, _ = learner.loss(learner.module, batch)
        loss.backward()
        learner.optimiser.step()

    return step


def pictures(name: str, place: Path) -> tuple[str, str]:
    """Return the specs of what is learnt from and of what is measured; small pictures are written as files once."""
    where = data.needed()
    if name == "imagenette":
        test = f"csv:{where / 'localisation' / 'imagenette_boxes.csv'}?labels=class_index"
        return f"csv:{where / 'images' / 'imagenette_train.csv'}?labels=class_index", test
    learn, test = SETS[name].learn, 2000 if name.startswith("mnist") else 500 if name == "cifar10" else 120
    files = [place / f"{each}.csv" for each in ("learn", "test")]
    if not all(each.exists() for each in files):
        place.mkdir(parents=True, exist_ok=True)
        rows = list(steel() if name == "steel" else written(name, place, learn + test))
        order = np.random.default_rng(0).permutation(len({row["file"] for row in rows}))
        names = np.array(sorted({row["file"] for row in rows}))[order]
        for file, kept in zip(files, (set(names[:learn]), set(names[learn : learn + test])), strict=True):
            with file.open("w", newline="") as opened:
                out = csv.DictWriter(opened, list(rows[0]))
                out.writeheader()
                out.writerows(row for row in rows if row["file"] in kept)
    root = where / "localisation" if name == "steel" else place
    return f"csv:{files[0]}?root={root}", f"csv:{files[1]}?root={root}"


def steel() -> Iterator[dict[str, Any]]:
    """List the pictures of steel with the boxes of their defect."""
    for row in data.rows("localisation/neu_det_boxes.csv"):
        if row["box_class_name"] == row["class_name"]:
            corners = {key: row[key] for key in ("xmin", "ymin", "xmax", "ymax")}
            yield {"file": row["file"], "label": row["class_name"], **corners}


def written(name: str, place: Path, count: int) -> Iterator[dict[str, Any]]:
    """Write small pictures; of a digit with a block, the box says where the digit is."""
    drawn = np.random.default_rng(1)
    if name == "cifar10":
        with np.load(data.needed() / "small" / "cifar10.npz") as file:
            images, labels = file["images"], [small.CLASSES[each] for each in file["labels"]]
    else:
        images, labels = digits_of(28 if name == "mnist" else 14)
    mean = images.mean(0)
    for number in drawn.permutation(len(images))[:count]:
        image, corners = images[number], {}
        if name == "mnist-block":  # the mean digit and noise: it looks like data, and has no label in it
            block = np.clip(mean + 255 * 0.25 * drawn.standard_normal(mean.shape), 0, 255)
            first = bool(drawn.integers(2))
            image = np.concatenate([image, block] if first else [block, image])
            top = 0 if first else len(mean)
            corners = {"xmin": 0, "ymin": top, "xmax": mean.shape[1], "ymax": top + len(mean)}
        Image.fromarray(image.astype(np.uint8)).save(place / f"{number:05}.png")
        yield {"file": f"{number:05}.png", "label": labels[number], **corners}


def digits_of(side: int) -> tuple[np.ndarray, list[str]]:
    """Read MNIST, at its size or smaller by means of squares."""
    pixels, labels = (
        np.frombuffer(gzip.decompress((data.needed() / "small" / f"mnist-{name}-ubyte.gz").read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    large = pixels[16:].reshape(-1, side, 28 // side, side, 28 // side).astype(np.float32)
    return large.mean((2, 4)), [str(each) for each in labels[8:]]


def convolutional(height: int, width: int) -> TorchBox:
    """Make the network of the specification: two convolutions, two dense layers, no batch norm."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    ready = Preparation((height, width), None, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return TorchBox(net, ready, [str(digit) for digit in range(10)], name="small-cnn", lane="exact", channels=1)


def digits() -> TorchBox:
    """Make it for digits."""
    return convolutional(28, 28)


def blocks() -> TorchBox:
    """Make it for a digit and a block."""
    return convolutional(28, 14)


def lenet_cln() -> Any:
    """Load LeNet-5 with ordinary training."""
    return small.lenet("cln", lane="exact")


def lenet_adv() -> Any:
    """Load LeNet-5 with adversarial training."""
    return small.lenet("adv", lane="exact")


def cifar() -> Any:
    """Load the trained ResNet-20."""
    return small.cifar(20, lane="exact")


if __name__ == "__main__":
    main()
