"""What a map is worth against what it cost: every black-box method at nested budgets, on pictures with truth.

    python -m benchmarks.passes --box efficientnet-lite0 --pictures 20 --seeds 3 --out runs/passes.jsonl    # goes on
    python -m benchmarks.passes --out runs/passes.jsonl --table                                             # prints

A method is run at each budget with the same masks, which are scored once: a run of 4,000 passes has the one of 500 in
it. `seeds` is the rank agreement of the maps of two seeds. All pictures that the box gets right: `--pictures 277`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch.nn import functional

from benchmarks import data, table
from benchmarks.sise import read_rows
from salience import registry, specs
from salience.case import Case
from salience.engine import maps
from salience.engine.query.run import start_run
from salience.engine.query.score_cache import Answers, share_scores
from salience.errors import BudgetError
from salience.types import BlackBox, Image, Map, Region

FEW, MORE, MOST = (100, 250, 500, 1000), (100, 250, 500, 1000, 2000, 4000), (100, 250, 500, 1000, 2000, 4000, 8000)
METHODS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "rise": ("rise", {}, MOST),
    "rise, centred": ("rise", {"estimator": "centred"}, MORE),
    "multiscale-rise": ("multiscale-rise", {}, MORE),
    "iassa plus": ("iassa", {"variant": "plus"}, MORE),
    "occlusion": ("occlusion", {}, FEW),
    "de-cam": ("de-cam", {}, MORE),
    "lime": ("lime", {}, FEW),
    "kernel-shap": ("kernel-shap", {}, FEW),
    "sobol": ("sobol", {}, FEW),
    "hsic": ("hsic", {}, FEW),
    "mc-rise": ("mc-rise", {}, MORE),
    "hipe": ("hipe", {}, FEW),
}
YARD = 4000  # passes of RISE as published, which others are compared with
MEASURES = {
    "insertion ↑": "insertion?step=1792",
    "deletion ↓": "deletion?step=1792",
    "energy ↑": "energy",
    "pixel AP ↑": "pixel-precision",
    "pointing ↑": "pointing-game/strict",
}


def main() -> None:
    """Make what is missing, then print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    options.add_argument("--pictures", type=int, default=20)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--methods", default="", help="of the table, with semicolons; none: all")
    options.add_argument("--most", type=int, default=8000, help="no budget above this")
    options.add_argument("--out", type=Path, default=Path("runs/passes.jsonl"))
    options.add_argument("--table", action="store_true", help="print only")
    given = options.parse_args()
    if not given.table:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        append_rows(given)
    print_tables(given.out)


def append_rows(given: argparse.Namespace) -> None:
    """Append the rows of each method, picture and budget that are not there yet."""
    there = {
        (line["box"], line["method"], line["picture"], budget) for line in read_rows(given.out) for budget in line["budgets"]
    }
    box = data.BOXES[given.box]()
    sources = ("imagenette",) if given.box == "vgg16" else ("imagenette", "coco")
    wanted = [each for each in METHODS if not given.methods or each in given.methods.split(";")]
    pool = data.iterate_recognised(data.sample_cases(data.read_cases(*sources), 277, seed=11), box, fine=True)
    for case, image, truth, top in track(itertools.islice(pool, given.pictures), "pictures", total=given.pictures):
        answers: list[Answers] = [{} for _ in range(given.seeds)]  # of a seed; methods with the same masks share them
        for name in wanted:
            about = {"box": box.name, "method": name, "picture": case.file.stem}
            missing = [each for each in METHODS[name][2] if each <= given.most and (*about.values(), each) not in there]
            if not missing:
                continue
            rows = measure_budgets(box, image, truth, top, name, missing, answers)
            about |= {"backend": box.backend, "budgets": missing}
            with given.out.open("a", encoding="utf-8") as file:  # one line, so that a kill leaves all of it or none
                file.write(json.dumps(about | {"rows": rows}) + "\n")


def measure_budgets(
    box: BlackBox, image: Image, truth: Region, top: int, name: str, budgets: list[int], answers: list[Answers]
) -> list[dict[str, float]]:
    """Explain at each budget and seed, and measure."""
    method, settings, _ = METHODS[name]
    found: dict[int, list[tuple[Map, dict[str, float]]]] = defaultdict(list)
    for seed, known in enumerate(answers):
        made = registry.make_method(method, **settings)
        seeded = any(each.name == "seed" for each in registry.list_settings(type(made)))
        if seed and not seeded:
            break
        for budget in budgets:
            changed = registry.make_method(method, **settings, **({"seed": seed} if seeded else {}))
            try:
                with share_scores(known), start_run(budget, 8) as run:
                    saliency = changed(box, image, top)
            except BudgetError:  # too little for this method
                continue
            found[budget].append((saliency, measure_map(box, image, truth, top, saliency) | {"passes": run.passes}))
    return [row for budget, each in found.items() for row in add_agreement(budget, each)]


def measure_map(box: BlackBox, image: Image, truth: Region, top: int, saliency: Map) -> dict[str, float]:
    """Measure one map."""
    case = Case(box, image, top, saliency, truth)
    with start_run(batch=8):
        return {column: specs.make_measure(spec)(case).value for column, spec in MEASURES.items()}


def add_agreement(budget: int, found: list[tuple[Map, dict[str, float]]]) -> list[dict[str, float]]:
    """Add to each seed's row how its map agrees with the other seeds'; 1 for a deterministic method."""
    small = [functional.adaptive_avg_pool2d(saliency[None].float(), 56)[0] for saliency, _ in found]
    rows = []
    for number, (_, row) in enumerate(found):
        others = [maps.rank_agreement(small[number], other) for at, other in enumerate(small) if at != number]
        gap = row["insertion ↑"] - row["deletion ↓"]
        rows.append({"budget": budget, "ins − del ↑": gap, **row, "seeds ↑": float(np.mean(others)) if others else 1.0})
    return rows


def print_tables(file: Path) -> None:
    """Print for each box a line a method and budget, and how far others are ahead of RISE with 4,000 passes."""
    backends: dict[str, set[str]] = defaultdict(set)
    boxes: dict[str, dict[tuple[str, int], dict[str, dict[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    for line in read_rows(file):
        backends[line["box"]].add(line["backend"])
        ordered = sorted(line["rows"], key=lambda row: row["budget"])
        for budget, some in itertools.groupby(ordered, lambda row: row["budget"]):
            rows = list(some)
            means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0] if key != "budget"}
            boxes[line["box"]][line["method"], int(budget)][line["picture"]] = means
    for name, found in boxes.items():
        words = f"backends {', '.join(sorted(backends[name]))}; predicted class, right answers only"
        print(f"\n{name}, {table.format_heading(None, words)}")
        ordered = [(method, budget) for method in METHODS for budget in MOST if (method, budget) in found]
        rows = {f"{m}, {b:,} (N = {len(found[m, b])})": list(found[m, b].values()) for m, b in ordered}
        print(table.format_rows(rows, lead="method, passes allowed"))
        print_differences(found, ordered)


def print_differences(found: dict[tuple[str, int], dict[str, dict[str, float]]], ordered: list[tuple[str, int]]) -> None:
    """Print the differences from RISE with 4,000 passes, its largest budget where that is less, picture by picture."""
    yard = max((each for each in ordered if each[0] == "rise" and each[1] <= YARD), default=None)
    if yard is None:
        return
    rows = {}
    for each in ordered:
        pairs = [(found[each][at], found[yard][at]) for at in found[each] if at in found[yard]]
        if (each[0] != "rise" or each[1] > yard[1]) and pairs:
            less = [{key: one[key] - value for key, value in other.items() if key != "passes"} for one, other in pairs]
            rows[f"{each[0]}, {each[1]:,} (N = {len(less)})"] = less
    if rows:
        print(f"\nLess what RISE as published has with {yard[1]:,} passes on the same pictures:\n")
        print(table.format_rows(rows, lead="method, passes allowed"))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
