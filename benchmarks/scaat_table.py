"""Tables of classifiers that were trained by different trainers: `python -m benchmarks.scaat table --set mnist`."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks import table
from salience.bench import journal, significance

Results = dict[tuple[str, str], dict[str, dict[str, dict[str, float]]]]  # training, method: measure: picture: seed: value


def print_tables(name: str, place: Path) -> None:
    """Print means over pictures and seeds, and what each training changes on the same pictures."""
    found: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for row in itertools.chain.from_iterable(map(journal.read_journal, sorted(place.glob("bench-*/cells/*.jsonl")))):
        how, _, seed = row["box"].rpartition("-")
        if row.get("value") is not None and not np.isnan(row["value"]):
            found[how, row["method"]][row["measure"]][row["picture"]][seed] = row["value"]
    print(table.format_heading(None, f"{name}, the explained class is the label"))
    print_method("accuracy, no map", found, "random-order", lambda name: name.startswith("accuracy"))
    for method in ("gradient", "smooth-grad"):
        print_method(f"maps: {method}", found, method, lambda _: True)


def print_method(title: str, found: Results, method: str, wanted: Callable[[str], bool]) -> None:
    """Print two tables of a method: what was measured, and the differences from ordinary training."""
    rows = {
        how: {name: each for name, each in cells.items() if wanted(name)} for (how, m), cells in found.items() if m == method
    }
    if not rows:
        return
    for how, cells in rows.items():
        cells |= {
            f"random order − {name}": subtract(found[how, "random-order"][name], cells[name])
            for name in list(cells)
            if name.startswith("deletion")
        }
    columns = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    counts = {len(each) for cells in rows.values() for each in cells.values()}
    pictures = "–".join(map(str, sorted({min(counts), max(counts)})))  # fewer where a bench was left
    order = [each for each in ("plain", *rows) if each in rows]
    print(f"\n**{title}**, N = {pictures}; mean ± half of the 95 % interval over pictures\n")
    print("| training | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for how in dict.fromkeys(order):
        print(f"| {how} | " + " | ".join(format_cell(rows[how].get(name, {})) for name in columns) + " |")
    print("\nBeside ordinary training, on the same pictures; **bold**: the interval leaves 0 out; n/m: seeds of that sign\n")
    print("| training | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for how in dict.fromkeys(order):
        if how != "plain" and not how.startswith("lenet5"):
            gaps = [subtract(rows[how][name], rows["plain"][name]) for name in columns]
            print(f"| {how} | " + " | ".join(format_cell(each, signed=True) for each in gaps) + " |")


def subtract(one: Any, other: Any) -> dict[str, dict[str, float]]:
    """Take one from the other, on the pictures and seeds that both have."""
    return {
        picture: {seed: one[picture][seed] - other[picture][seed] for seed in one[picture].keys() & other[picture].keys()}
        for picture in one.keys() & other.keys()
    }


def format_cell(cell: dict[str, dict[str, float]], *, signed: bool = False) -> str:
    """Say a mean with its interval over pictures."""
    (mean,) = significance.estimate_means([np.array([fmean(seeds.values()) for seeds in cell.values() if seeds])])
    digits = 0 if abs(mean.mean) >= 100 else 1 if abs(mean.mean) >= 10 else 3
    text = f"{mean.mean:{'+' if signed else ''}.{digits}f} ± {mean.half:.{digits}f}"
    if not signed:
        return text
    seeds = {seed for each in cell.values() for seed in each}
    alike = sum(fmean(each[seed] for each in cell.values() if seed in each) * mean.mean > 0 for seed in seeds)
    return f"{f'**{text}**' if mean.sure else text} {alike}/{len(seeds)}"
