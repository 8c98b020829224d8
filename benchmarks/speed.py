"""Speed and memory of the engine, in one run: `python -m benchmarks.speed`. Prints Markdown.

Ratios are medians over pairs measured in turn, because machines are noisy; absolute times are not to be compared
between runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks import data, table
from salience import specs
from salience.engine.query.ask import choose_backend
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run
from salience.methods.rise import Rise
from salience.types import AsyncBox, BlackBox, Image, PendingScores

Clock = Callable[[], float]
PEAK = """
import resource, sys
from salience import specs
from salience.boxes import toy
from salience.methods.rise import Rise
box = specs.open_box("toy:colour?size=224")
Rise(masks=int(sys.argv[1]))(box, toy.picture(224), 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    """Measure everything and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--masks", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--alone", nargs=4, metavar=("BOX", "BACKEND", "BATCH", "MASKS"), help="one measurement, as JSON")
    given = options.parse_args()
    if given.alone:
        name, backend, batch, masks = given.alone
        print_rates(name, backend, int(batch), int(masks))
        return
    print(table.format_heading(None, f"RISE with {given.masks} masks in {given.rounds} rounds"))
    print("| what | figure | wanted |\n|---|---|---|")
    box = data.BOXES["efficientnet-lite0"]()
    image = open_photograph(box)
    over, alone = measure_overhead(box, image, given.masks, given.rounds)
    print(
        f"| query loop beyond the passes alone, {box.name} ({box.backend}) "
        f"| {over:+.1%} of {alone * 1e3:.2f} ms | at most 5 % |"
    )
    trivial = specs.open_box("toy:colour?size=224")
    tiny = open_photograph(trivial)
    over, alone = measure_overhead(trivial, tiny, given.masks, given.rounds)
    print(f"| query loop beyond the passes alone, a trivial box | {over * alone * 1e3:.3f} ms a mask | at most 0.3 ms |")
    few, many = measure_peak(500), measure_peak(50_000)
    print(f"| peak memory, 50,000 masks against 500 | {many:.0f} MB / {few:.0f} MB = {many / few:.3f} | at most 1.1 |")
    print()
    print_backends(given.masks, given.rounds)


def measure_overhead(box: BlackBox, image: Image, masks: int, rounds: int) -> tuple[float, float]:
    """Return the share that RISE takes beyond its passes alone, and the seconds of one pass."""
    choose_batch_size(box, image)
    batch = BatchSize.of(box).best
    pairs = [(time_passes(box, image, batch, masks), time_rise(box, image, masks, batch)) for _ in range(rounds)]
    return median(whole / alone for alone, whole in pairs) - 1, median(alone for alone, _ in pairs) / masks


def print_backends(masks: int, rounds: int) -> None:
    """Compare the backend `auto` with what peers do: float32, contiguous, batch 32, the system's allocator.

    Each measurement is a process of its own, for the allocator is the process's; the two take turns.
    """
    print(
        "| box | configuration | passes alone, images/s | RISE, images/s | ratio, passes alone | end-to-end ratio | kept |"
    )
    print("|---" * 7 + "|")
    for name in ("efficientnet-lite0", "vit-tiny"):
        plain, fast = [], []
        for _ in range(rounds):
            plain.append(run_process(name, "exact", 32, masks // 4, "system"))
            fast.append(run_process(name, "auto", 0, masks, ""))
        alone = median(b["passes"] / a["passes"] for a, b in zip(plain, fast, strict=True))
        whole = median(b["rise"] / a["rise"] for a, b in zip(plain, fast, strict=True))
        for configuration, found in (
            ("exact, batch 32, system's allocator", plain),
            (f"{fast[0]['backend']}, batch {fast[0]['batch']}", fast),
        ):
            rate = [median(each[key] for each in found) for key in ("passes", "rise")]
            ratios = "1 | 1 | " if found is plain else f"{alone:.2f} | {whole:.2f} | {whole / alone:.0%}"
            print(f"| {name} | {configuration} | {rate[0]:.0f} | {rate[1]:.0f} | {ratios} |")


def run_process(name: str, backend: str, batch: int, masks: int, allocator: str) -> dict[str, Any]:
    """Measure images a second, of passes alone and of RISE, in a fresh process."""
    asked = [sys.executable, "-m", "benchmarks.speed", "--alone", name, backend, str(batch), str(masks)]
    done = subprocess.run(asked, env=os.environ | {"SALIENCE_MALLOC": allocator}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_rates(name: str, backend: str, batch: int, masks: int) -> None:
    """Print what `run_process` reads."""
    box = data.BOXES[name](backend)
    image = open_photograph(box)
    choose_backend(box, image)
    if not batch:
        choose_batch_size(box, image)
        batch = BatchSize.of(box).best
    time_passes(box, image, batch, 4 * batch), time_rise(box, image, 2 * batch, batch)
    seconds = {"passes": time_passes(box, image, batch, masks), "rise": time_rise(box, image, masks, batch)}
    print(json.dumps({key: masks / value for key, value in seconds.items()} | {"backend": box.backend, "batch": batch}))


def choose_batch_size(box: BlackBox, image: Image) -> None:
    """Run until the box's backend and batch size are chosen."""
    choose_backend(box, image)
    while not BatchSize.of(box).settled:
        Rise(masks=256)(box, image, 0)


def time_passes(
    box: Any, image: Image, batch: int, passes: int, *, early: bool = True, clock: Clock = time.perf_counter
) -> float:
    """Time the box alone on ready batches, submitted one in advance where it is asynchronous: the most that it can do."""
    return time_batches(
        box, image, [min(batch, passes - done) for done in range(0, passes, batch)], early=early, clock=clock
    )


def time_batches(box: Any, image: Image, sizes: list[int], *, early: bool, clock: Clock = time.perf_counter) -> float:
    """Time the box alone on ready batches of these sizes."""
    ready = image.expand(max(sizes), -1, -1, -1).contiguous()
    parts = [ready[:size] for size in sizes]
    with start_run():
        began = clock()
        under_way = deque[PendingScores]()
        for part in parts:
            if early and isinstance(box, AsyncBox):
                under_way.append(box.submit(part))
                if len(under_way) == box.in_flight:
                    under_way.popleft()()
            else:
                box(part)
        for pending in under_way:
            pending()
        return clock() - began


def time_rise(box: BlackBox, image: Image, masks: int, batch: int) -> float:
    """Time RISE from its masks to its map."""
    with start_run(batch=batch):
        return time_call(lambda: Rise(masks=masks)(box, image, 0))


def time_call(work: Callable[[], object]) -> float:
    """Time a call, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure_peak(masks: int) -> float:
    """Return the peak resident memory of a fresh process that runs RISE, in MB."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(masks)], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def open_photograph(box: BlackBox) -> Image:
    """Return a real photograph at the box's size."""
    from salience.picture import Preparation, read

    prepare: Preparation = getattr(box, "preparation", Preparation(box.size))
    image, _ = prepare(read(data.list_photographs()[0]))
    return image.to(box.device, torch.float32)


if __name__ == "__main__":
    main()
