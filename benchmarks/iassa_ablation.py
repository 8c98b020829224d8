"""IASSA, its parts: selection × estimator × attention, each as the official code has it or as the paper intends.

    python -m benchmarks.iassa_ablation --pictures 50 --cache runs/ablation

All windows of all rounds are scored once a picture and kept in the cache folder (resumable); the eight variants then
look their windows up, and count each look-up as the pass that it stands for. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.progress import track

from benchmarks import data, table
from salience.case import Case
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.estimates import Estimate
from salience.measures.deletion import Deletion
from salience.measures.energy import Energy
from salience.measures.insertion import Insertion
from salience.measures.pointing_game import PointingGame
from salience.methods import iassa
from salience.methods._iassa import attention
from salience.types import BlackBox, Image, Region

SIZE = (224, 224)
SIDE = 56  # of the official attention here; at its own 112 a picture would take minutes, and its maps rank alike


def main() -> None:
    """Score, look up, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=50)
    options.add_argument("--cache", type=Path, default=Path("runs/ablation"))
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    given = options.parse_args()
    box = data.BOXES[given.box]()
    given.cache.mkdir(parents=True, exist_ok=True)
    pool = data.iterate_recognised(data.sample_cases(data.read_cases("imagenette", "coco"), 277), box)
    chosen = list(itertools.islice(pool, given.pictures))
    rows: dict[str, list[dict[str, float]]] = {}
    for case, image, truth, top in track(chosen, "pictures"):
        cache = cache_scores(box, image, top, given.cache / f"{given.box}-{case.file.stem}.pt")
        for name, row in explain_variants(box, image, truth, top, cache):
            rows.setdefault(name, []).append(row)
    print(table.format_heading(box, f"N = {len(chosen)} pictures with boxes"))
    print(table.format_rows(rows, lead="selection · estimator · attention"))


def cache_scores(box: BlackBox, image: Image, top: int, file: Path) -> dict[tuple[int, ...], float]:
    """Score every window of every round, or read what was scored before."""
    if file.exists():
        edges, scores = torch.load(file, weights_only=True)
    else:
        method = iassa.Iassa()
        grids = [masks.lay_windows(SIZE, *method.get_sides(number)).edges for number in range(method.rounds + 1)]
        windows = masks.Windows(torch.cat(grids), SIZE)
        baseline = fill.make_fill("mean", box, image)
        parts = loop.score_masked(box, image, top, [windows], baseline)
        edges, scores = windows.edges, torch.cat([scores.cpu() for _, _, scores in parts])
        torch.save((edges, scores), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return {tuple(edge): score for edge, score in zip(edges.tolist(), scores.tolist(), strict=True)}


def explain_variants(
    box: BlackBox, image: Image, truth: Region, top: int, cache: dict[tuple[int, ...], float]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Run the eight variants on cached scores, and measure their maps."""

    def recall(_box: Any, _image: Any, _target: Any, lots: Any, _fill: Any, **_: Any) -> Iterator[Any]:
        for lot in lots:
            yield lot, None, torch.tensor([cache[tuple(edge)] for edge in lot.edges.tolist()])

    official = attention.Official
    for parts in itertools.product(("official", "intent"), repeat=3):
        method = iassa.Iassa(**dict(zip(("selection", "estimator", "attention"), parts, strict=True)))
        with (
            mock.patch.object(loop, "score_masked", recall),
            mock.patch.object(attention, "Official", lambda levels: official(levels, SIDE)),
        ):
            found = loop.run_to_end(method.watch(box, image, top))
        yield " · ".join(parts), measure_map(box, image, truth, top, found)


def measure_map(box: BlackBox, image: Image, truth: Region, top: int, found: Estimate) -> dict[str, float]:
    """Measure one map."""
    saliency = found.saliency
    rounds = found.evidence["rounds"]
    explained = Case(box, image, top, saliency, truth)
    deleted, inserted = (each(step=1792)(explained).value for each in (Deletion, Insertion))
    return {
        "insertion ↑": inserted,
        "deletion ↓": deleted,
        "ins − del ↑": inserted - deleted,
        "pointing ↑": PointingGame("strict")(explained).value,
        "energy ↑": Energy()(explained).value,
        "passes": sum(each["windows"] for each in rounds) + 1,
        "kept windows": sum(each["windows"] for each in rounds[1:]) / max(1, sum(each["grid"] for each in rounds[1:])),
    }


if __name__ == "__main__":
    main()
