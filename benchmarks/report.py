"""Seconds to report a run of 10,000 rows with maps, curves and pictures: `python -m benchmarks.report`. Prints Markdown.

The run is made up: hills that look at the object more or less, and figures that follow. `--keep DIR` leaves it there.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as pil

import salience
from benchmarks import table
from salience.bench import report
from salience.bench.controls import CONTROLS
from salience.bench.places import make_slug

METHODS = ("iassa", "rise", "occlusion", "grad-cam", "grad-cam++", "layer-cam", "hires-cam", "xgrad-cam", "eigen-cam")
METHODS += ("recipro-cam", "score-cam", "sise", "ada-sise", "gradient", "smooth-grad", "integrated-gradients", "fullgrad")
MEASURES = {
    "deletion/rise-2018": "lower",
    "insertion/rise-2018": "higher",
    "average-drop/score-cam": "lower",
    "increase/score-cam": "higher",
    "pointing-game/torchray": "higher",
    "energy/score-cam": "higher",
    "iou/sise-20": "higher",
    "sparsity/gini": "higher",
    "complexity/png": "lower",
    "agreement/spearman": "neither",
}
CURVES = tuple(MEASURES)[:2]
SIDE, SEEN = 112, 224  # pixels of a stored map and of what the box saw
GRID = """# made up by benchmarks/report.py
measures = {measures}

[boxes]
lite0 = "default"

[data]
photographs = "csv:photographs.csv"

[methods]
{methods}
"""


def main() -> None:
    """Make a run and report it, three times."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=50)
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as aside:
        run = given.keep or Path(aside)
        rows = make_run(run, given.pictures)
        seconds = []
        for _ in range(3):
            began = time.process_time()
            page = report.write_report(run)
            seconds.append(time.process_time() - began)
        print(
            table.format_heading(None, f"a report of {rows:,} rows, 20 methods, {given.pictures} pictures, processor time")
        )
        print("| what | figure |\n|---|---|")
        print(f"| first report | {seconds[0]:.1f} s |\n| the same again | {min(seconds[1:]):.1f} s |")
        print(f"| size of the page | {page.stat().st_size / 1e6:.1f} MB |")


def make_run(run: Path, pictures: int, methods: tuple[str, ...] = METHODS) -> int:
    """Write a run's folder as `salience bench` leaves it; return the number of rows."""
    random, names = np.random.default_rng(0), [f"picture {number:03}" for number in range(pictures)]
    whole = pil.open(Path(salience.__file__).parent / "sample.jpg").convert("RGB")
    for part in ("cells", "scenes", "pictures/lite0--photographs"):
        (run / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        side = int(min(whole.size) * random.uniform(0.5, 1))
        left, top = (int(random.integers(0, full - side + 1)) for full in whole.size)
        seen = whole.crop((left, top, left + side, top + side)).resize((SEEN, SEEN))
        seen.save(run / "pictures/lite0--photographs" / f"{make_slug(name)}.jpg", quality=85)
    chosen = [{"number": at, "id": name, "target": 0, "right": True} for at, name in enumerate(names)]
    (run / "scenes/lite0--photographs.json").write_text(json.dumps({"chosen": chosen}))
    about = {"salience": salience.__version__, "torch": torch.__version__, "machine": "a made-up run", "begun": "2026-01-01"}
    (run / "run.json").write_text(json.dumps(about))
    lines = "\n".join(f'"{name}" = {{}}' for name in methods)
    (run / "grid.toml").write_text(GRID.format(measures=json.dumps(list(MEASURES)), methods=lines))
    every = (*methods, *CONTROLS)
    objects = random.uniform(0.3, 0.7, (pictures, 2)), random.normal(0, 0.05, pictures)
    for at, method in enumerate(every):
        skill = 0.1 if method in CONTROLS else 0.9 - 0.5 * at / len(every)
        _cell(run, method, skill, names, objects)
    return len(every) * pictures * len(MEASURES)


def _cell(run: Path, method: str, skill: float, names: list[str], objects: tuple[Any, Any]) -> None:
    random = np.random.default_rng(number(method))
    cell = f"{make_slug(method)}--lite0--photographs--0"
    (run / "evidence" / cell).mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"cell": cell, "digest": ""})]
    for name, (y, x), hard in zip(names, *objects, strict=True):
        quality = float(np.clip(skill + hard + random.normal(0, 0.05), 0.02, 0.98))
        lines.append(json.dumps({"picture": name, "rows": _rows(cell, method, name, quality)}))
        (run / "evidence" / cell / f"{make_slug(name)}.npz").write_bytes(_evidence(random, quality, y, x))
    (run / "cells" / f"{cell}.jsonl").write_text("\n".join(lines) + "\n")


def number(text: str) -> int:
    """Turn a text into a number that is the same in every process."""
    return sum(ord(letter) * 31**at for at, letter in enumerate(text)) % 2**32


def _rows(cell: str, method: str, name: str, quality: float) -> list[dict[str, Any]]:
    about = {"cell": cell, "method": method, "box": "lite0", "data": "photographs", "picture": name, "seed": 0}
    about |= {"fingerprint": "made-up", "backend": "exact", "target": "dog", "right": True, "settings": "{}", "notes": ""}
    about |= {"map_passes": 100 + number(method) % 4000, "map_seconds": 0.5 + quality, "probability": 0.9}
    signs = {"higher": quality, "lower": 1 - quality, "neither": quality / 2}
    return [
        about | {"measure": measure, "better": better, "value": signs[better], "passes": 225, "seconds": 0.1}
        for measure, better in MEASURES.items()
    ]


def _evidence(random: np.random.Generator, quality: float, y: float, x: float) -> bytes:
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE
    hill = quality * np.exp(-((down - y) ** 2 + (across - x) ** 2) / 0.03)
    coarse = pil.fromarray(random.random((8, 8)).astype(np.float32)).resize((SIDE, SIDE), pil.Resampling.BICUBIC)
    saliency = hill + (1 - quality) * np.asarray(coarse)
    low, high = saliency.min(), saliency.max()
    steps = np.linspace(0, 1, 225)
    falling, rising = 0.9 * np.exp(-steps * 12 * quality), 0.9 * (1 - np.exp(-steps * 8 * quality))
    arrays = {f"curve|{protocol}": np.array([steps, y]) for protocol, y in zip(CURVES, (falling, rising), strict=True)}
    made = io.BytesIO()
    kept = ((saliency - low) / (high - low) * 255).round().astype(np.uint8)
    np.savez_compressed(made, map=kept, range=np.array([low, high], np.float32), **arrays)
    return made.getvalue()


if __name__ == "__main__":
    main()
