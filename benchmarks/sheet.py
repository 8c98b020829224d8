"""Twenty photographs × methods at their full budgets, kept as records and drawn on one sheet.

    python -m benchmarks.sheet --out runs/sheet                                         the black-box methods
    python -m benchmarks.sheet --set more --budget 500 --out runs/more                  nine more of them
    python -m benchmarks.sheet --set inside --out runs/inside                           twelve that look inside
    python -m benchmarks.sheet --set transformer --box vit-tiny --out runs/transformer  twelve on a transformer

Resumable: a record that is there already is not made again.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from rich.progress import track

import salience
from benchmarks import data

BOTH = ("grad-cam", "grad-cam++", "layer-cam", "score-cam", "eigen-cam", "recipro-cam", "sise", "ada-sise")
BOTH += ("integrated-gradients", "smooth-grad")
METHODS: dict[str, dict[str, Any]] = {
    "rise": {"method": "rise"},
    "occlusion": {"method": "occlusion"},
    "iassa official": {"method": "iassa", "variant": "official"},
    "iassa intent": {"method": "iassa", "variant": "intent"},
    "iassa plus": {"method": "iassa", "variant": "plus"},
}
MORE = ("multiscale-rise", "de-cam", "lime", "kernel-shap", "sobol", "hsic", "mc-rise", "hipe")
SETS = {
    "scores": METHODS,
    "more": {name: {"method": name} for name in MORE} | {"de-cam regions": {"method": "de-cam", "encoding": "regions"}},
    "inside": {name: {"method": name} for name in (*BOTH, "guided-backprop", "fullgrad")},
    "transformer": {name: {"method": name} for name in (*BOTH, "attention-rollout", "attention-relevance")},
}


def main() -> None:
    """Make what is missing, then draw."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=20)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    options.add_argument("--set", default="scores", choices=SETS)
    options.add_argument("--budget", default=None)
    options.add_argument("--out", type=Path, default=Path("runs/sheet"))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    box = data.BOXES[given.box]()
    chosen = sorted(random.Random(3).sample(data.list_photographs(), given.pictures))
    rows, methods = [], SETS[given.set]
    for photograph in track(chosen, "pictures"):
        row = []
        for name, settings in methods.items():
            file = given.out / f"{photograph.stem}.{name.replace(' ', '-')}.salience"
            if not file.exists():
                salience.explain(box, photograph, budget=given.budget, **settings).save(file)
            row.append(salience.Explanation.load(file))
        rows.append(row)
    from salience.draw import overlay, sheet

    (given.out / "sheet.png").write_bytes(overlay.png(sheet.sheet(rows, titles=list(methods))))


if __name__ == "__main__":
    main()
