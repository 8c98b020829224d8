"""Which method should be the default? Each with the passes of ten seconds, measured against the truth.

    python -m benchmarks.best --pictures 30 --passes 2000     methods that need only scores
    python -m benchmarks.best --pictures 30 --access open     methods that look inside, on the same pictures

Prints a Markdown table. The methods see the same pictures, and RISE's two estimators the same masks.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

from rich.progress import track

from benchmarks import data, table
from salience import registry
from salience.case import Case
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.estimates import Sampler
from salience.measures.deletion import Deletion
from salience.measures.energy import Energy
from salience.measures.insertion import Insertion
from salience.measures.pointing_game import PointingGame

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "rise (as published)": ("rise", {}),
    "rise, centred": ("rise", {"estimator": "centred"}),
    "occlusion": ("occlusion", {}),
    "iassa intent": ("iassa", {"variant": "intent"}),
    "iassa plus": ("iassa", {"variant": "plus"}),
}
OPEN: dict[str, tuple[str, dict[str, Any]]] = {
    "sise": ("sise", {}),
    "sise, rectified": ("sise", {"rectify": True}),
    "ada-sise": ("ada-sise", {}),
    "score-cam": ("score-cam", {}),
    "recipro-cam": ("recipro-cam", {}),
    "grad-cam": ("grad-cam", {}),
    "layer-cam": ("layer-cam", {}),
    "fullgrad": ("fullgrad", {}),
    "integrated-gradients": ("integrated-gradients", {}),
    "smooth-grad": ("smooth-grad", {}),
}


def main() -> None:
    """Run, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=30)
    options.add_argument("--passes", type=int, default=2000)
    options.add_argument("--access", default="scores", choices=("scores", "open"))
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    given = options.parse_args()
    box = data.BOXES[given.box]()
    pool = data.iterate_recognised(data.sample_cases(data.read_cases("imagenette", "coco"), 277, seed=2), box)
    chosen = list(itertools.islice(pool, given.pictures))
    rows: dict[str, list[dict[str, float]]] = {}
    for _, image, truth, top in track(chosen, "pictures"):
        for name, (method, settings) in (METHODS if given.access == "scores" else OPEN).items():
            with start_run(given.passes) as run:
                made = registry.make_method(method, **settings)
                watched = made.watch(box, image, top) if isinstance(made, Sampler) else made.many(box, image[None], [top])
                found = loop.run_to_end(iter(watched))
            explained = Case(box, image, top, found.saliency, truth)
            deleted, inserted = (each(step=1792)(explained).value for each in (Deletion, Insertion))
            row = {
                "insertion ↑": inserted,
                "deletion ↓": deleted,
                "ins − del ↑": inserted - deleted,
                "energy ↑": Energy()(explained).value,
                "pointing ↑": PointingGame("strict")(explained).value,
                **({"stability": found.stability or 0.0} if given.access == "scores" else {}),
                "passes": run.passes,
            }
            rows.setdefault(name, []).append(row)
    print(table.format_heading(box, f"N = {len(chosen)} pictures with boxes, budget {given.passes} passes"))
    print(table.format_rows(rows, lead="method"))


if __name__ == "__main__":
    main()
