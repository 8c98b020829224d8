"""SISE beside its neighbours, on pictures with truth, by the protocols of its paper.

    python -m benchmarks.sise --box efficientnet-lite0 --pictures 60 --out runs/sise.jsonl    # go on where it stopped
    python -m benchmarks.sise --out runs/sise.jsonl --table                                   # print what is there

Explains the predicted class of pictures that the box gets right. Energy-based pointing game (EBPG), IoU of the highest
20 % with the truth, bounding-box metric, Drop % and Increase % with the highest 15 % kept. Truth: boxes, or the masks
that COCO has. The masks that SISE at several μ, Ada-SISE and Score-CAM (the authors' weights) have in common are
scored once; `passes` says what each takes alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks import data, table
from salience import registry, specs
from salience.case import Case
from salience.engine.query.run import start_run
from salience.engine.query.score_cache import share_scores
from salience.types import BlackBox, Image, Region

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "sise": ("sise", {}),
    "sise, soft gate": ("sise", {"gate": "soft"}),
    "sise, rectified": ("sise", {"rectify": True}),
    "sise, μ = 0.3": ("sise", {"mu": 0.3}),
    "sise, μ = 0.5": ("sise", {"mu": 0.5}),
    "sise, μ = 0.75": ("sise", {"mu": 0.75}),
    "ada-sise": ("ada-sise", {}),
    "score-cam": ("score-cam", {"weights": "probability"}),
    "grad-cam": ("grad-cam", {}),
    "grad-cam++": ("grad-cam++", {}),
    "layer-cam": ("layer-cam", {}),
    "rise": ("rise", {}),
    "extremal-perturbation, 100 steps": ("extremal-perturbation", {"steps": 100}),
}


MEASURES = {
    "EBPG ↑": "energy/score-cam",
    "mIoU ↑": "iou/sise-20",
    "Bbox ↑": "bounding-box/schulz-2020",
    "Drop % ↓": "average-drop/sise-15",
    "Increase % ↑": "increase/sise-15",
}


def main() -> None:
    """Make what is missing, then print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    options.add_argument("--pictures", type=int, default=60)
    options.add_argument("--methods", default="", help="of the register, with commas; none: all")
    options.add_argument("--rise", type=int, default=2000, help="masks of RISE")
    options.add_argument("--out", type=Path, default=Path("runs/sise.jsonl"))
    options.add_argument("--table", action="store_true", help="print only")
    given = options.parse_args()
    if not given.table:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        append_rows(given)
    print_tables(given.out)


def append_rows(given: argparse.Namespace) -> None:
    """Append a row for each method and picture that has none yet."""
    there = {(row["box"], row["method"], row["picture"]) for row in read_rows(given.out)}
    box = data.BOXES[given.box]()
    sources = {"vgg16": ("imagenette",), "vgg16-steel": ("neu_det",)}.get(given.box, ("imagenette", "coco"))
    wanted = [each for each in METHODS if METHODS[each][0] in given.methods.split(",") or not given.methods]
    pool = data.iterate_recognised(data.sample_cases(data.read_cases(*sources), 277, seed=7), box, fine=True)
    for case, image, truth, top in track(itertools.islice(pool, given.pictures), "pictures", total=given.pictures):
        left = [each for each in wanted if (box.name, each, case.file.stem) not in there]
        with share_scores():
            found = [measure_map(box, image, truth, top, each, given.rise) for each in left]
        with given.out.open("a", encoding="utf-8") as file:
            for name, row in zip(left, found, strict=True):
                about = {"box": box.name, "backend": box.backend, "method": name, "picture": case.file.stem}
                file.write(json.dumps(about | row) + "\n")


def measure_map(box: BlackBox, image: Image, truth: Region, top: int, name: str, rise: int) -> dict[str, float]:
    """Explain and measure."""
    method, settings = METHODS[name]
    if method == "rise":
        settings = {"masks": rise}
    with start_run() as run:
        saliency = registry.make_method(method, **settings)(box, image, top)
    case = Case(box, image, top, saliency, truth)
    row = {name: 100 * specs.make_measure(spec)(case).value for name, spec in MEASURES.items()}
    return {**row, "passes": run.passes}


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read the rows; a line that was cut short is left out."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def print_tables(file: Path) -> None:
    """Print a table for each box."""
    boxes: dict[tuple[str, str], dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in read_rows(file):
        about = {key: row.pop(key) for key in ("box", "backend", "method", "picture")}
        boxes[about["box"], about["backend"]][about["method"]].append(row)
    for (name, backend), methods in boxes.items():
        ordered = {f"{each} (N = {len(methods[each])})": methods[each] for each in METHODS if each in methods}
        print(f"\n{name}, backend {backend}; {table.format_heading(None, 'predicted class, right answers only')}")
        print(table.format_rows(ordered, lead="method", digits=1))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
