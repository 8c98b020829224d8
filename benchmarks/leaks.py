"""Does anything stay behind after many calls? Live tensors, hooks, threads, descriptors, bytes of the process.

python -m benchmarks.leaks --calls 10000 --into docs/results/leaks.md

Every line is one kind of call, made so many times in one process on a box of its own; what is alive is counted after a
fiftieth of the calls, when caches are full, after half of them and after all. The first four must not change at all.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

import salience
from benchmarks import table
from salience.boxes import toy
from salience.draw import overlay

SIDE = 16
METHODS = {
    "rise": {"masks": 64},
    "occlusion": {"window": 4, "stride": 4},
    "iassa": {"budget": 100},
    "lime": {"masks": 40},
    "grad-cam": {},
    "sise": {},
}
COUNTED = ("tensors", "hooks", "threads", "descriptors")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def make_deeds(folder: Path) -> dict[str, Callable[[Any], object]]:
    """Name what is done many times to a box."""
    image, why = toy.picture(SIDE), salience.explain("toy:colour", toy.picture(32), "occlusion", window=16, stride=16)
    deeds: dict[str, Callable[[Any], object]] = {
        name: lambda box, name=name, settings=settings: salience.explain(box, image, name, **settings)
        for name, settings in METHODS.items()
    }
    deeds["a list of three pictures"] = lambda box: salience.explain(box, [image] * 3, "grad-cam")
    deeds["three targets of a picture"] = lambda box: salience.explain(box, image, "gradient", target=[0, 1, 2])
    deeds["saving and loading"] = lambda _: salience.Explanation.load(why.save(folder / "why.salience"))
    deeds["a page in pixels"] = lambda _: overlay.png(overlay.picture(why, size=64))
    deeds["a figure of matplotlib"] = lambda _: overlay.png(why.plot(size=64))
    deeds["measuring"] = lambda _: salience.measure("toy:colour", why, ["deletion", "sparsity"])
    return deeds


def count_alive(box: Any) -> dict[str, int]:
    """Count what a call could leave behind."""
    gc.collect()
    modules = list(box.module.modules()) if isinstance(getattr(box, "module", None), nn.Module) else []
    process = psutil.Process()
    return {
        "tensors": sum(issubclass(type(each), Tensor) for each in gc.get_objects()),
        "hooks": sum(len(getattr(module, name)) for module in modules for name in HOOKS),
        "threads": threading.active_count(),
        "descriptors": process.num_fds() if os.name != "nt" else process.num_handles(),
        "bytes": process.memory_info().rss,
    }


def count_over(deed: Callable[[Any], object], calls: int) -> list[dict[str, int]]:
    """Do it so many times; count after a fiftieth, after half and after all.

    >>> len(count_over(lambda box: box(toy.picture()[None]), 50))
    3
    """
    box, counts = toy.load("colour", size=SIDE), []
    for number in range(1, calls + 1):
        deed(box)
        if number in (max(1, calls // 50), calls // 2, calls):
            counts.append(count_alive(box))
    return counts


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--into", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["# What many calls leave behind", "", " ".join((__doc__ or "").split("\n\n")[2].split()), ""]
    lines += [table.format_heading(None, f"`python -m benchmarks.leaks --calls {given.calls}`"), ""]
    lines += [f"| {given.calls:,} times | {' | '.join(COUNTED)} | MB |", f"|---{'|---' * (len(COUNTED) + 1)}|"]
    flat = True
    with tempfile.TemporaryDirectory() as folder:
        for name, deed in make_deeds(Path(folder)).items():
            counts = count_over(deed, given.calls)
            flat = flat and all(each[what] == counts[0][what] for each in counts for what in COUNTED)
            cells = [" → ".join(dict.fromkeys(f"{each[what]:,}" for each in counts)) for what in COUNTED]
            size = " → ".join(f"{each['bytes'] / 2**20:.0f}" for each in counts)
            lines.append(f"| {name} | {' | '.join(cells)} | {size} |")
            print(lines[-1], flush=True)
    lines += ["", "Flat: nothing stays behind." if flat else "NOT flat: something stays behind."]
    if given.into is not None:
        given.into.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not flat:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
