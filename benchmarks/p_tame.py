"""P-TAME's trainings: `python -m benchmarks.p_tame fit --box vit-tiny --route queries --out runs/p-tame`.

`fit` trains an explainer on the 1,000 Imagenette training pictures, restricted to the ten classes, and puts it where
benchmarks/p_tame.toml looks for it: OUT/LABEL/FINGERPRINT.safetensors. A fit that was killed goes on. `table` prints
what all fits in OUT took and came to, `speed` what an explanation costs beside a pass of the box and RISE-4000.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import data, table
from salience import specs
from salience.boxes.torch import TorchBox
from salience.engine.query.ask import choose_backend, score_batch
from salience.engine.training import explainer
from salience.engine.training.history import Row
from salience.engine.training.loop import Loop
from salience.methods.p_tame import PTame as Method
from salience.methods.rise import Rise
from salience.trainers.p_tame import PTame
from salience.types import BlackBox, Image

# Features of another network than the box, for that is the paper's idea: EfficientNet-Lite0 reads MobileNetV2's.
AUX = {"efficientnet-lite0": "py:benchmarks.data:mobilenet_v2", "mobilenet-v2": "zoo:efficientnet-lite0"}
TEN = (
    sorted({int(row["class_index"]) for row in data.read_table("images/imagenette_train.csv")}) if data.find_folder() else []
)


def main() -> None:
    """Do what was asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("task", choices=["fit", "table", "speed"])
    options.add_argument("--box", choices=list(data.BOXES), default="efficientnet-lite0")
    options.add_argument("--route", choices=["gradient", "queries"], default="gradient")
    options.add_argument("--label", help="the folder in OUT; none given: the route")
    options.add_argument("--aux", help="the network that gives the features")
    options.add_argument("--fill", default="black")
    options.add_argument("--steps", type=int, default=1000)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--check", type=int, default=250)
    options.add_argument("--held", type=int, default=32)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--out", type=Path, default=Path("runs/p-tame"))
    given = options.parse_args()
    {"fit": fit, "table": print_table, "speed": print_speed}[given.task](given)


def fit(given: argparse.Namespace) -> None:
    """Train one explainer, or go on."""
    box, label = data.BOXES[given.box](), given.label or given.route
    aux = given.aux or AUX.get(given.box, "zoo:efficientnet-lite0")
    classes = tuple(str(index) for index in (TEN if len(box.classes) == 1000 else range(len(box.classes))))
    loop = Loop(steps=given.steps, batch=given.batch, check=given.check, save=50)
    how = PTame(aux=aux, route=given.route, classes=classes, fill=given.fill, held=given.held)
    place, began = given.out / label, time.perf_counter()

    def tell(step: int, steps: int, row: Row) -> None:
        if step <= 3 or step % 25 == 0 or "road" in row:
            said = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
            print(f"{step}/{steps} after {time.perf_counter() - began:.0f} s: {said}", flush=True)

    pictures = f"csv:{data.expect_folder() / 'images' / 'imagenette_train.csv'}"
    fitted = how.fit(box, pictures, loop=loop, out=place / given.box, keep=False, tell=tell)
    shutil.copyfile(fitted.path, explainer.find_path(box.fingerprint, place))


def print_table(given: argparse.Namespace) -> None:
    """Print a row for every fit."""
    print(table.format_heading(None, "trained on Imagenette's training pictures, labels not used"))
    print("| fit | box | features | pictures | steps | box passes a step | minutes | ce | own map | other maps | ROAD |")
    print("|---" * 11 + "|")
    for file in sorted(given.out.glob("*/*/explainer.safetensors")):
        about = explainer.load(file).about
        made, last = about.trained, about.trained["figures"]
        queries = made["trainer"]["route"] == "queries"
        passes = made["loop"]["batch"] * (made["trainer"]["masks"] if queries else 1)
        cells = [file.parts[-3], about.box["name"], about.source["spec"].rpartition(":")[2], made["pictures"], last["step"]]
        cells += [f"{passes} forward" if queries else f"{passes} there and back", f"{made['seconds'] / 60:.0f}"]
        cells += [f"{last[name]:.3f}" if name in last else "–" for name in ("ce", "own", "others", "road")]
        print("| " + " | ".join(map(str, cells)) + " |")


def print_speed(given: argparse.Namespace) -> None:
    """Time one explanation, one pass of the box and RISE with 4,000 masks, in turn; print medians and ratios."""
    box = data.BOXES[given.box]()
    place = explainer.find_path(box.fingerprint, given.out / (given.label or given.route))
    method = Method(explainer=str(place))
    image, target = open_photograph(box), explainer.load(place).about.classes[0]
    choose_backend(box, image)
    tasks: dict[str, tuple[int, Callable[[], object]]] = {
        "one pass of the box": (20, lambda: score_batch(box, image[None])),
        "p-tame": (20, lambda: method(box, image, target)),
        "rise, 4,000 masks": (1, lambda: Rise(masks=4000)(box, image, target)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(given.rounds + 1):
        for name, (times, task) in tasks.items():
            for _ in range(times if number or times > 1 else 0):
                began = time.perf_counter()
                task()
                seconds[name] += [time.perf_counter() - began] if number else []  # the first round warms up
    print(
        table.format_heading(
            None, f"{box.name}, backend {box.backend}, features of {explainer.load(place).about.source['spec']}"
        )
    )
    print("| what | seconds, median | passes of the box |\n|---|---|---|")
    one = median(seconds["one pass of the box"])
    for name, all_ in seconds.items():
        print(f"| {name} | {median(all_):.4f} | {median(all_) / one:.2f} |")


def open_photograph(box: BlackBox) -> Image:
    """Return a real photograph at the box's size."""
    case = data.read_cases("imagenette")[0]
    return case.prepared(box)[0].to(box.device)


def make_random_features() -> Any:
    """Give the default network with weights that learnt nothing, the same ones always."""
    box = specs.open_box("default", backend="exact")
    assert isinstance(box, TorchBox)  # noqa: S101  # so that it can be redrawn
    return box.reinitialise(box.list_weighted(), seed=0)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
