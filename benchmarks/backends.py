"""How fast is each backend, how near to exact, and where does RISE stand against the limit? `python -m benchmarks.backends`.

Prints Markdown. A backend's rate is that of bare passes on ready batches, begun one ahead where the backend computes beside
Python: the most that the box can do. RISE runs in the fastest backend, from its masks to its map. On one thread rates are
images a second of processor time, so that a busy machine matters less: about what the clock would show on an idle one;
on more they are the clock's. Backends take turns; rates are medians over rounds, at the best of a few batch sizes.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from benchmarks import data, table
from benchmarks.speed import choose_batch_size, open_photograph, time_passes
from salience.boxes.torch import TorchBox
from salience.engine.perturb import masks
from salience.engine.query import allocator
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run
from salience.methods.rise import Rise
from salience.runtime import backends

HALF = "channels-last bfloat16"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--boxes", nargs="*", default=["efficientnet-lite0", "vit-tiny", "vgg16"])
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--masks", type=int, default=1000, help="of RISE")
    options.add_argument("--batches", type=int, nargs="*", default=[8, 16])
    options.add_argument("--images", type=int, default=32)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    allocator.keep_freed_memory()
    print(table.format_heading(None, f"a photograph seen through {given.images} masks, {given.rounds} rounds"))
    print(f"| box | backend | batch | images a second | beside {HALF} | largest difference from exact | seconds to make |")
    print("|---" * 7 + "|")
    for name in given.boxes:
        box = data.BOXES[name]("exact")
        print_rows(box, make_images(box, given.images), given)


def make_images(box: TorchBox, count: int) -> torch.Tensor:
    """Return a photograph seen through masks, as methods show it."""
    image = open_photograph(box)
    lot = next(masks.sample_grids(count, box.size, 7, 0.5, seed=0))
    mean = torch.tensor(box.mean)[:, None, None]
    return mean + lot.rasterise(image)[:, None] * (image - mean)


def print_rows(box: TorchBox, images: torch.Tensor, given: argparse.Namespace) -> None:
    """Print the backends of a box, the fastest first, and RISE in that one."""
    clock = time.process_time if given.threads == 1 else time.perf_counter
    image, exact, made, names = open_photograph(box), box(images), {}, backends.list_backends(box.device)
    for backend in names:
        began = clock()
        box.backend = backend
        box(images[:1])
        made[backend] = clock() - began
    rates: dict[tuple[str, int], list[float]] = {(backend, batch): [] for backend in names for batch in given.batches}
    for _ in range(given.rounds):
        for (backend, batch), found in rates.items():
            box.backend = backend
            found.append(len(images) / time_passes(box, image, batch, len(images), clock=clock))
    best = {backend: max((median(rates[backend, batch]), batch) for batch in given.batches) for backend in names}
    ordered = sorted(best.items(), key=lambda each: -each[1][0])
    for backend, (rate, batch) in ordered:
        box.backend = backend
        apart = float((box(images) - exact).abs().max())
        beside = f"{rate / best[HALF][0]:.2f} ×"
        print(
            f"| {box.name} | {backend} | {batch} | {rate:.1f} | {beside} | {apart:.1e} | {made[backend]:.1f} |", flush=True
        )
    box.backend, batch = ordered[0][0], ordered[0][1][1]
    choose_batch_size(box, image)
    pairs = []
    for _ in range(given.rounds):
        most = time_passes(box, image, batch, given.masks, clock=clock)
        began = clock()
        with start_run():
            Rise(masks=given.masks)(box, image, 0)
        pairs.append((most, clock() - began))
    rate, kept = given.masks / median(whole for _, whole in pairs), median(most / whole for most, whole in pairs)
    own = BatchSize.of(box).best
    print(
        f"| {box.name} | RISE, {given.masks:,} masks, in that backend | {own} | {rate:.1f} | {kept:.0%} of its passes | | |"
    )


if __name__ == "__main__":
    main()
