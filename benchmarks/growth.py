"""What the engine costs beside the passes, and how it grows: `python -m benchmarks.growth --out docs/results/growth.png`.

A box that answers at once shows the engine alone: rasterising masks, blending, folding. Against a real box the share is
what matters: each method runs in the backend that `auto` takes, and in turn with it the box alone is called on ready batches
as large as the method's were, one after the other; and as many passes in full batches, submitted one in advance where the
box is asynchronous: the most that it can do. What the box takes to read inner layers is left out. Times are the
processor's, on one thread, so that a busy machine matters less; `--threads 2` takes the clock's instead.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import data, table
from benchmarks.speed import choose_batch_size, open_photograph, time_batches, time_passes
from salience import registry
from salience.engine.query.ask import score_batch
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run

METHODS: dict[str, dict[str, Any]] = {
    "rise": {},
    "multiscale-rise": {},
    "iassa": {"variant": "plus"},
    "occlusion": {"stride": 8},
    "de-cam": {},
    "lime": {},
    "kernel-shap": {},
    "sobol": {},
    "hsic": {},
    "mc-rise": {},
    "hipe": {},
    "score-cam": {},
    "sise": {},
    "ablation-cam": {},
}


class InstantBox:
    """A box that answers at once."""

    name, classes, mean, device, backend, fingerprint = "free", ("a", "b"), (0.5,) * 3, torch.device("cpu"), "exact", "free"

    def __init__(self, side: int) -> None:
        self.size = (side, side)
        self.answers = torch.rand(8192, 2, generator=torch.Generator().manual_seed(0))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Answer."""
        return self.answers[: len(images)]


def main() -> None:
    """Measure, print, draw."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--boxes", default="efficientnet-lite0,vit-tiny")
    options.add_argument("--methods", default=",".join(METHODS))
    options.add_argument("--passes", type=int, default=500)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--batch", type=int, help="instead of what the engine finds")
    options.add_argument("--out", type=Path, help="a picture of how the engine's cost grows")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    grown = print_growth(given.rounds, clock)
    if given.out:
        draw(grown, given.out)
    for name in given.boxes.split(","):
        print()
        print_overheads(name, given, clock)


def print_growth(rounds: int, clock: Callable[[], float]) -> dict[str, list[tuple[int, float]]]:
    """Print the engine's milliseconds a mask for RISE, by masks, side of the image, and batch."""
    rise = registry.find_method("rise")

    def cost(masks: int, side: int, batch: int) -> float:
        box, image = InstantBox(side), torch.rand(3, side, side, generator=torch.Generator().manual_seed(1))
        found = []
        for _ in range(rounds + 1):
            with start_run(batch=batch):
                began = clock()
                rise(masks=masks)(box, image, 0)
                found.append((clock() - began) / masks * 1e3)
        return median(found[1:])

    print(table.format_heading(None, "RISE on a box that answers at once"))
    print("| what grows | value | ms a mask |\n|---|---|---|")
    found: dict[str, list[tuple[int, float]]] = {}
    for what, values in {
        "masks": (250, 1000, 4000),
        "side, pixels": (64, 112, 224, 448),
        "batch": (1, 4, 8, 16, 32),
    }.items():
        for value in values:
            usual = {"masks": 1000, "side, pixels": 224, "batch": 8} | {what: value}
            one = cost(*usual.values())
            found.setdefault(what, []).append((value, one))
            print(f"| {what} | {value:,} | {one:.3f} |", flush=True)
    return found


def print_overheads(name: str, given: argparse.Namespace, clock: Callable[[], float]) -> None:
    """Print what each method costs beyond its passes."""
    box: Any = data.BOXES[name]()
    image = open_photograph(box)
    target = int(score_batch(box, image[None])[0].argmax())
    choose_batch_size(box, image)
    batch_size, reading = BatchSize.of(box), time_introspection(box, clock)
    batch_size.size = batch_size.best = batch = given.batch or batch_size.best
    print(table.format_heading(box, f"at most {given.passes} passes, batch {batch}"))
    print("| method | passes | ms a pass, alone | beyond the passes alone | of the most that the box can do |")
    print("|---" * 5 + "|")
    for method in given.methods.split(","):
        made, pairs = registry.make_method(method, **METHODS[method]), []
        budget = None if registry.find_need(type(made)).__name__ != "BlackBox" else given.passes
        for _ in range(given.rounds + 1):
            reading.clear()
            counts = [0]
            with start_run(budget, progress=lambda passes, _, counts=counts: counts.append(passes)) as run:
                began = clock()
                made(box, image, target)
                spent = clock() - began - sum(reading)
            called = time_batches(
                box, image, [after - before for before, after in pairwise(counts)], early=False, clock=clock
            )
            pairs.append((spent, called, time_passes(box, image, batch, run.passes, clock=clock)))
        over = median(whole / called for whole, called, _ in pairs[1:]) - 1
        kept = median(most / whole for whole, _, most in pairs[1:])
        each = median(called for _, called, _ in pairs[1:]) / run.passes * 1e3
        print(f"| {method} | {run.passes:,} | {each:.2f} | {over:+.1%} | {kept:.0%} |", flush=True)


def time_introspection(box: Any, clock: Callable[[], float]) -> list[float]:
    """Note how long the box takes each time that it reads inner layers, which is no pass and not the engine's either."""
    seconds: list[float] = []

    def time_read(read: Callable[..., Any], *args: Any, **options: Any) -> Any:
        began = clock()
        found = read(*args, **options)
        seconds.append(clock() - began)
        return found

    for name in ("differentiate", "activations"):
        setattr(box, name, partial(time_read, getattr(box, name)))
    return seconds


def draw(grown: dict[str, list[tuple[int, float]]], out: Path) -> None:
    """Draw the growth, a panel a kind."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (what, points) in zip(figure.subplots(1, len(grown)), grown.items(), strict=True):
        axes.plot(*zip(*points, strict=True), marker="o", color="#7a1f5c")
        axes.set(xlabel=what, xscale="log", ylim=(0, 1.1 * max(y for _, y in points)))
        axes.set_xticks([x for x, _ in points], [f"{x:,}" for x, _ in points])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("ms a mask")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
