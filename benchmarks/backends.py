"""How fast is each backend, how near to exact, and where does RISE stand against the limit? `python -m benchmarks.backends`.

Prints Markdown. A backend's rate is that of passes on ready batches, submitted one in advance where the box is asynchronous:
the most that it can do. The last rows are what `auto` takes, and RISE in it, from masks to map. On one thread rates are
images a second of processor time, so that a busy machine matters less: about what the clock would show on an idle one;
on more they are the clock's. Backends take turns; rates are medians over rounds, at the best of a few batch sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
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

SLOW = 8  # times as slow as the fastest after one batch: not timed any more


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
    print("| box | backend | batch | images a second | beside exact | largest difference from exact | seconds to make |")
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
    """Print the backends of a box, the fastest first, what `auto` takes, and RISE in that one."""
    clock = time.process_time if given.threads == 1 else time.perf_counter
    image, exact, made = open_photograph(box), box(images), {}
    for backend in backends.list_backends(box.device):
        began = clock()
        box.backend = backend
        try:
            box(images[:1])
        except RuntimeError as problem:
            print(f"| {box.name} | {backend} | | {problem} | | | |")
            continue
        made[backend] = clock() - began
    rates = time_backends(box, image, list(made), given, clock)
    best = {backend: max((median(found), batch) for batch, found in sizes.items()) for backend, sizes in rates.items()}
    for backend, (rate, batch) in sorted(best.items(), key=lambda each: -each[1][0]):
        box.backend = backend
        difference = float((box(images[:8]) - exact[:8]).abs().max())
        beside = f"{rate / best['exact'][0]:.2f} ×"
        print(
            f"| {box.name} | {backend} | {batch} | {rate:.1f} | {beside} | {difference:.1e} | {made[backend]:.1f} |",
            flush=True,
        )
    box.backend, box.backend_chosen = "exact", False
    choose_batch_size(box, image)
    fastest = max(best, key=lambda each: best[each][0])
    print(
        f"| {box.name} | `auto` takes {box.backend} | | | {best[box.backend][0] / best[fastest][0]:.0%} of the fastest | | |"
    )
    print_rise(box, image, best[box.backend][1], given, clock)


def time_backends(
    box: TorchBox, image: torch.Tensor, names: list[str], given: argparse.Namespace, clock: Callable[[], float]
) -> dict[str, dict[int, list[float]]]:
    """Measure images a second of each backend and batch, in turns; what is far slower than the others has one batch."""
    rates: dict[str, dict[int, list[float]]] = {}
    for backend in names:
        box.backend = backend
        few = min(given.batches)
        rates[backend] = {few: [few / time_passes(box, image, few, few, clock=clock)]}
    fastest = max(rate for sizes in rates.values() for found in sizes.values() for rate in found)
    for backend in [each for each in names if max(map(max, rates[each].values())) * SLOW > fastest]:
        rates[backend] = {batch: [] for batch in given.batches}
    for _ in range(given.rounds):
        for backend, sizes in rates.items():
            box.backend = backend
            for batch, found in sizes.items():
                if len(sizes) == len(given.batches):
                    found.append(given.images / time_passes(box, image, batch, given.images, clock=clock))
    return rates


def print_rise(
    box: TorchBox, image: torch.Tensor, batch: int, given: argparse.Namespace, clock: Callable[[], float]
) -> None:
    """Print RISE's rate beside that of passes alone."""
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
