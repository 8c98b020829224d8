"""How fast is each lane, and how near to exact? `python -m benchmarks.lanes [--threads 1]`. Prints Markdown.

Rates are images per second of processor time, so that a busy machine matters less: with one thread, what the clock
would show on an idle one. Lanes take turns; rates are medians over rounds, at the best of a few batch sizes.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from benchmarks import data, table
from benchmarks.speed import photograph
from salience.boxes import _lanes
from salience.boxes.torch import TorchBox
from salience.engine import masks, memory

HALF = "channels-last bfloat16"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--boxes", nargs="*", default=["efficientnet-lite0", "vit-tiny", "vgg16"])
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--batches", type=int, nargs="*", default=[8, 16])
    options.add_argument("--images", type=int, default=32)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    memory.keep()
    print(table.heading(None, f"a photograph seen through {given.images} masks, {given.rounds} rounds"))
    print(f"| box | lane | batch | images a CPU second | beside {HALF} | largest difference from exact | seconds to make |")
    print("|---" * 7 + "|")
    for name in given.boxes:
        box = data.BOXES[name]("exact")
        rows(box, seen(box, given.images), given.batches, given.rounds)


def seen(box: TorchBox, count: int) -> torch.Tensor:
    """Return a photograph seen through masks, as methods show it."""
    image = photograph(box)
    lot = next(masks.grids(count, box.size, 7, 0.5, seed=0))
    mean = torch.tensor(box.mean)[:, None, None]
    return mean + lot.draw(image)[:, None] * (image - mean)


def rows(box: TorchBox, images: torch.Tensor, batches: list[int], rounds: int) -> None:
    """Print the lanes of a box, the fastest first."""
    exact, made = box(images), {}
    lanes = _lanes.names(box.device)
    for lane in lanes:
        began = time.process_time()
        box.lane = lane
        box(images[:1])
        made[lane] = time.process_time() - began
    rates: dict[tuple[str, int], list[float]] = {(lane, batch): [] for lane in lanes for batch in batches}
    for _ in range(rounds):
        for (lane, batch), found in rates.items():
            box.lane = lane
            began = time.process_time()
            for part in images.split(batch):
                box(part)
            found.append(len(images) / (time.process_time() - began))
    best = {lane: max((median(rates[lane, batch]), batch) for batch in batches) for lane in lanes}
    for lane, (rate, batch) in sorted(best.items(), key=lambda each: -each[1][0]):
        box.lane = lane
        apart = float((box(images) - exact).abs().max())
        beside = f"{rate / best[HALF][0]:.2f} ×"
        print(f"| {box.name} | {lane} | {batch} | {rate:.1f} | {beside} | {apart:.1e} | {made[lane]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
