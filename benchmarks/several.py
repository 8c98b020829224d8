"""Pictures of a list share batches: what does that save? `python -m benchmarks.several --box efficientnet-lite0`.

Each method explains the same photographs one by one and as a list, in turn, with the same passes; backend and batch sizes
are chosen before. Prints medians of the seconds a picture, and how far the maps agree.
"""

from __future__ import annotations

import argparse
import random
import time
from statistics import median
from typing import Any

import torch

import salience
from benchmarks import data, table
from salience.engine import maps

METHODS = ("rise", "iassa", "multiscale-rise", "de-cam", "lime")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    options.add_argument("--pictures", type=int, default=9)
    options.add_argument("--passes", type=int, default=200)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    box = data.BOXES[given.box]()
    shown = random.Random(5).sample(data.list_photographs(), given.pictures)
    salience.explain(box, shown[0], "rise", masks=1000)  # chooses backend and batch size
    print(
        table.format_heading(
            None, f"{given.box}, backend {box.backend}, {given.pictures} photographs, {given.passes} passes each"
        )
    )
    print("| method | one by one, s a picture | as a list | ratio | ρ of the maps, least |\n|---|---|---|---|---|")
    for name in METHODS:
        budget, seconds, alike = f"{given.passes} passes", {"alone": list[float](), "list": list[float]()}, [1.0]
        for _ in range(given.rounds):
            began = time.perf_counter()
            alone = [salience.explain(box, each, name, budget=budget) for each in shown]
            between = time.perf_counter()
            found: list[Any] = salience.explain(box, shown, name, budget=budget)
            seconds["alone"].append((between - began) / len(shown))
            seconds["list"].append((time.perf_counter() - between) / len(shown))
            alike += [maps.rank_agreement(one.saliency, other.saliency) for one, other in zip(alone, found, strict=True)]
        one, all_ = median(seconds["alone"]), median(seconds["list"])
        print(f"| {name} | {one:.3f} | {all_:.3f} | {all_ / one:.2f} | {min(alike):.4f} |", flush=True)


if __name__ == "__main__":
    main()
