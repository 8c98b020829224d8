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
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks import data, table
from salience import registry
from salience.engine.query import loop
from salience.engine.query.ask import choose_backend
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run
from salience.methods.rise import Rise
from salience.types import BlackBox, Image

Clock = Callable[[], float]
PEAK = """
import resource, sys
from salience import registry
from salience.boxes import toy
from salience.methods.rise import Rise
box = registry.box("toy:colour?size=224")
Rise(masks=int(sys.argv[1]))(box, toy.picture(224), 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    """Measure everything and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--masks", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--alone", nargs=4, metavar=("BOX", "LANE", "BATCH", "MASKS"), help="one measurement, as JSON")
    given = options.parse_args()
    if given.alone:
        name, backend, batch, masks = given.alone
        report(name, backend, int(batch), int(masks))
        return
    print(table.heading(None, f"RISE with {given.masks} masks in {given.rounds} rounds"))
    print("| what | figure | wanted |\n|---|---|---|")
    box = data.BOXES["efficientnet-lite0"]()
    image = photograph(box)
    over, bare = overhead(box, image, given.masks, given.rounds)
    print(f"| probe beyond the bare passes, {box.name} ({box.backend}) | {over:+.1%} of {bare * 1e3:.2f} ms | at most 5 % |")
    trivial = registry.open_box("toy:colour?size=224")
    tiny = photograph(trivial)
    over, bare = overhead(trivial, tiny, given.masks, given.rounds)
    print(f"| probe beyond the bare passes, a trivial box | {over * bare * 1e3:.3f} ms a mask | at most 0.3 ms |")
    few, many = peak(500), peak(50_000)
    print(f"| peak memory, 50,000 masks against 500 | {many:.0f} MB / {few:.0f} MB = {many / few:.3f} | at most 1.1 |")
    print()
    backends(given.masks, given.rounds)


def overhead(box: BlackBox, image: Image, masks: int, rounds: int) -> tuple[float, float]:
    """Return the share that RISE takes beyond its bare passes, and the seconds of one bare pass."""
    settled(box, image)
    batch = BatchSize.of(box).best
    pairs = [(bare(box, image, batch, masks), explained(box, image, masks, batch)) for _ in range(rounds)]
    return median(whole / alone for alone, whole in pairs) - 1, median(alone for alone, _ in pairs) / masks


def backends(masks: int, rounds: int) -> None:
    """Compare the backend `auto` with what peers do: float32, contiguous, batch 32, the system's allocator.

    Each measurement is a process of its own, for the allocator is the process's; the two take turns.
    """
    print("| box | way | bare, images/s | RISE, images/s | bare ratio | end-to-end ratio | kept |")
    print("|---" * 7 + "|")
    for name in ("efficientnet-lite0", "vit-tiny"):
        plain, fast = [], []
        for _ in range(rounds):
            plain.append(alone(name, "exact", 32, masks // 4, "system"))
            fast.append(alone(name, "auto", 0, masks, ""))
        bared = median(b["bare"] / a["bare"] for a, b in zip(plain, fast, strict=True))
        whole = median(b["rise"] / a["rise"] for a, b in zip(plain, fast, strict=True))
        for way, found in (
            ("exact, batch 32, system's allocator", plain),
            (f"{fast[0]['backend']}, batch {fast[0]['batch']}", fast),
        ):
            rate = [median(each[key] for each in found) for key in ("bare", "rise")]
            ratios = "1 | 1 | " if found is plain else f"{bared:.2f} | {whole:.2f} | {whole / bared:.0%}"
            print(f"| {name} | {way} | {rate[0]:.0f} | {rate[1]:.0f} | {ratios} |")


def alone(name: str, backend: str, batch: int, masks: int, allocator: str) -> dict[str, Any]:
    """Measure images a second, bare and in RISE, in a fresh process."""
    asked = [sys.executable, "-m", "benchmarks.speed", "--alone", name, backend, str(batch), str(masks)]
    done = subprocess.run(asked, env=os.environ | {"SALIENCE_MALLOC": allocator}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(name: str, backend: str, batch: int, masks: int) -> None:
    """Print what `alone` reads."""
    box = data.BOXES[name](backend)
    image = photograph(box)
    choose_backend(box, image)
    if not batch:
        settled(box, image)
        batch = BatchSize.of(box).best
    bare(box, image, batch, 4 * batch), explained(box, image, 2 * batch, batch)
    seconds = {"bare": bare(box, image, batch, masks), "rise": explained(box, image, masks, batch)}
    print(json.dumps({key: masks / value for key, value in seconds.items()} | {"backend": box.backend, "batch": batch}))


def settled(box: BlackBox, image: Image) -> None:
    """Let the box choose its backend and the pace its batch."""
    choose_backend(box, image)
    while not BatchSize.of(box).settled:
        Rise(masks=256)(box, image, 0)


def bare(box: Any, image: Image, batch: int, passes: int, *, ahead: bool = True, clock: Clock = time.perf_counter) -> float:
    """Time the box alone on ready batches: the most that it can do, begun one ahead where it computes beside Python."""
    return replayed(box, image, [min(batch, passes - done) for done in range(0, passes, batch)], ahead=ahead, clock=clock)


def replayed(box: Any, image: Image, sizes: list[int], *, ahead: bool, clock: Clock = time.perf_counter) -> float:
    """Time the box alone on ready batches of these sizes."""
    ready = image.expand(max(sizes), -1, -1, -1).contiguous()
    parts = [ready[:size] for size in sizes]
    with start_run():
        began = clock()
        if ahead and getattr(box, "apart", False):
            for waited in loop.prefetch(box.begin(part) for part in parts):
                waited()
        else:
            for part in parts:
                box(part)
        return clock() - began


def explained(box: BlackBox, image: Image, masks: int, batch: int) -> float:
    """Time RISE from its masks to its map."""
    with start_run(batch=batch):
        return timed(lambda: Rise(masks=masks)(box, image, 0))


def timed(work: Callable[[], object]) -> float:
    """Time a call, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def peak(masks: int) -> float:
    """Return the peak resident memory of a fresh process that runs RISE, in MB."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(masks)], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def photograph(box: BlackBox) -> Image:
    """Return a real photograph at the box's size."""
    from salience.picture import Preparation, read

    prepare: Preparation = getattr(box, "preparation", Preparation(box.size))
    image, _ = prepare(read(data.photographs()[0]))
    return image.to(box.device, torch.float32)


if __name__ == "__main__":
    main()
