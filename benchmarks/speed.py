"""Speed and memory of the engine, in one run: `python -m benchmarks.speed`. Prints Markdown.

Ratios are medians over pairs measured in turn, because machines are noisy; absolute times are not to be compared
between runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks import data, table
from salience import registry
from salience.engine import probe
from salience.methods.rise import Rise
from salience.types import BlackBox, Image

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
    given = options.parse_args()
    print(table.heading(None, f"RISE with {given.masks} masks in {given.rounds} rounds"))
    print("| what | figure | wanted |\n|---|---|---|")
    box = data.BOXES["efficientnet-lite0"]()
    image = photograph(box)
    over, bare = overhead(box, image, given.masks, given.rounds)
    print(f"| probe beyond the bare passes, {box.name} ({box.lane}) | {over:+.1%} of {bare * 1e3:.2f} ms | at most 5 % |")
    trivial = registry.box("toy:colour?size=224")
    tiny = photograph(trivial)
    over, bare = overhead(trivial, tiny, given.masks, given.rounds)
    print(f"| probe beyond the bare passes, a trivial box | {over * bare * 1e3:.3f} ms a mask | at most 0.3 ms |")
    few, many = peak(500), peak(50_000)
    print(f"| peak memory, 50,000 masks against 500 | {many:.0f} MB / {few:.0f} MB = {many / few:.3f} | at most 1.1 |")
    print()
    lanes(given.masks, given.rounds)


def overhead(box: BlackBox, image: Image, masks: int, rounds: int) -> tuple[float, float]:
    """Return the share that RISE takes beyond its bare passes, and the seconds of one bare pass."""
    settled(box, image)
    batch = probe.Pace.of(box).best
    pairs = [(bare(box, image, batch, masks), explained(box, image, masks, batch)) for _ in range(rounds)]
    return median(whole / alone for alone, whole in pairs) - 1, median(alone for alone, _ in pairs) / masks


def lanes(masks: int, rounds: int) -> None:
    """Compare the lane `auto` with what peers do: float32, contiguous, batch 32."""
    print("| box | lane | bare, images/s | RISE, images/s | bare ratio | end-to-end ratio | kept |")
    print("|---" * 7 + "|")
    for name in ("efficientnet-lite0", "vit-tiny"):
        plain, fast = data.BOXES[name]("exact"), data.BOXES[name]("auto")
        image = photograph(plain)
        settled(fast, image)
        batch, few = probe.Pace.of(fast).best, max(64, masks // 4)
        times: dict[str, list[float]] = {"a": [], "b": [], "c": [], "d": []}
        for _ in range(rounds):
            times["a"].append(bare(plain, image, 32, few))
            times["b"].append(bare(fast, image, batch, few))
            times["c"].append(explained(plain, image, few, 32))
            times["d"].append(explained(fast, image, few, batch))
        alone = median(a / b for a, b in zip(times["a"], times["b"], strict=True))
        whole = median(c / d for c, d in zip(times["c"], times["d"], strict=True))
        rate = {key: few / median(values) for key, values in times.items()}
        print(f"| {name} | exact, batch 32 | {rate['a']:.0f} | {rate['c']:.0f} | 1 | 1 | |")
        print(f"| {name} | {fast.lane}, batch {batch} | {rate['b']:.0f} | {rate['d']:.0f} ", end="")
        print(f"| {alone:.2f} | {whole:.2f} | {whole / alone:.0%} |")


def settled(box: BlackBox, image: Image) -> None:
    """Let the box choose its lane and the pace its batch."""
    probe.settle(box, image)
    while not probe.Pace.of(box).settled:
        Rise(masks=256)(box, image, 0)


def bare(box: BlackBox, image: Image, batch: int, passes: int) -> float:
    """Time the box alone on a ready batch."""
    ready = image.expand(batch, -1, -1, -1).contiguous()
    return timed(lambda: [box(ready[: min(batch, passes - done)]) for done in range(0, passes, batch)])


def explained(box: BlackBox, image: Image, masks: int, batch: int) -> float:
    """Time RISE from its masks to its map."""
    with probe.running(batch=batch):
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
