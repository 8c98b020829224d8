"""Does anything stay behind after many calls? Live tensors, hooks, threads, descriptors, bytes of the process.

python -m benchmarks.leaks --calls 10000 --rows benchmarks/leaks.csv --into docs/results/leaks.md

Every line is one kind of call, made so many times in one process on a box of its own; what is alive is counted after a
fiftieth of the calls, when caches are full, after half of them and after all. The first four must not change at all.
What takes a tenth of a second is done a tenth as often. Rows are kept, and what has one is not done again.
"""

from __future__ import annotations

import argparse
import csv
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
    "score-cam": {},
    "lime": {"masks": 40},
    "grad-cam": {},
    "sise": {},
}
DEAR = ("iassa", "a figure of matplotlib", "measuring")  # done a tenth as often
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


def read_rows(path: Path | None) -> list[dict[str, str]]:
    """Read the rows that are kept."""
    if path is None or not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def count_deed(name: str, deed: Callable[[Any], object], calls: int) -> dict[str, str]:
    """Count over one kind of call, and give its row."""
    counts = count_over(deed, calls)
    row = {"what": name, "times": f"{calls:,}"}
    row |= {what: " → ".join(dict.fromkeys(f"{each[what]:,}" for each in counts)) for what in COUNTED}
    return row | {"MB": " → ".join(f"{each['bytes'] / 2**20:.0f}" for each in counts)}


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--into", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_rows(given.rows)
    with tempfile.TemporaryDirectory() as folder:
        for name, deed in make_deeds(Path(folder)).items():
            if any(row["what"] == name for row in rows):
                continue
            rows.append(count_deed(name, deed, given.calls // (10 if name in DEAR else 1)))
            print(rows[-1], flush=True)
            if given.rows is not None:
                with given.rows.open("w", encoding="utf-8", newline="") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
    page = write_page(rows, given.calls)
    print(page)
    if given.into is not None:
        given.into.write_text(page, encoding="utf-8")
    if any("→" in row[what] for row in rows for what in COUNTED):
        raise SystemExit(1)


def write_page(rows: list[dict[str, str]], calls: int) -> str:
    """Lay out the rows."""
    columns = list(rows[0])
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    lines = ["# What many calls leave behind", "", about, ""]
    lines += [table.format_heading(None, f"`python -m benchmarks.leaks --calls {calls}`"), ""]
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(row[column] for column in columns)} |" for row in rows]
    moved = [row["what"] for row in rows if any("→" in row[what] for what in COUNTED)]
    return "\n".join([*lines, "", f"NOT flat: {', '.join(moved)}." if moved else "Flat: nothing stays behind.", ""])


if __name__ == "__main__":
    main()
