"""What was tried for IASSA's `plus`: designs of 800 passes, on pictures with boxes.

    python -m benchmarks.designs --pictures 10

Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator

import torch
from rich.progress import track

from benchmarks import data, table
from salience.case import Case
from salience.engine import maps
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.measures.deletion import Deletion
from salience.measures.energy import Energy
from salience.measures.insertion import Insertion
from salience.methods._iassa import attention
from salience.methods._iassa.plus import multiply
from salience.types import BlackBox, Image, Map, Masks

SIZE = (224, 224)


def main() -> None:
    """Run, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=10)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    given = options.parse_args()
    box = data.BOXES[given.box]()
    pool = data.iterate_recognised(data.sample_cases(data.read_cases("imagenette", "coco"), 60, seed=1), box)
    chosen = list(itertools.islice(pool, given.pictures))
    rows: dict[str, list[dict[str, float]]] = {}
    for _, image, truth, top in track(chosen, "pictures"):
        for name, saliency in explain_designs(box, image, top):
            explained = Case(box, image, top, saliency, truth)
            deleted, inserted = (each(step=1792)(explained).value for each in (Deletion, Insertion))
            energy = Energy()(explained).value
            row = {"insertion ↑": inserted, "deletion ↓": deleted, "ins − del ↑": inserted - deleted, "energy ↑": energy}
            rows.setdefault(name, []).append(row)
    print(table.format_heading(box, f"N = {len(chosen)} pictures with boxes, 800 passes"))
    print(table.format_rows(rows, lead="design"))


def explain_designs(box: BlackBox, image: Image, top: int) -> Iterator[tuple[str, Map]]:
    """Yield each design's map; designs share the masks that they have in common."""

    def asked(shown: Masks) -> Map:
        lots, baseline = [masks.FullMasks(shown)], fill.make_fill("mean", box, image)
        scores = torch.cat([y.cpu() for _, _, y in loop.score_masked(box, image, top, lots, baseline)])
        return ((scores - scores.mean()) @ (shown - shown.mean(0)).flatten(1)).reshape(SIZE) / len(scores)

    def drawn(cells: int, count: int, keep: float = 0.5) -> Masks:
        return torch.cat([lot.rasterise(image) for lot in masks.sample_grids(count, SIZE, cells, keep, seed=5)])

    for cells in (4, 7, 10, 14):
        yield f"one scale, {cells}×{cells}", asked(drawn(cells, 800))
    coarse, fine = asked(drawn(4, 300)), asked(drawn(14, 500))
    both = maps.stretch(coarse) + maps.stretch(fine)
    yield "4×4 and 14×14, sum", both
    yield "4×4 and 14×14, product", multiply([coarse, fine])
    yield "4×4 kept .3 and 14×14 kept .7, product", multiply([asked(drawn(4, 300, 0.3)), asked(drawn(14, 500, 0.7))])
    yield "4, 7, 10 and 14, product", multiply([asked(drawn(cells, 200)) for cells in (4, 7, 10, 14)])
    _, levels = attention.read_levels("auto", box, image)
    yield "sum, attended (λ = 0.5)", (both + attention.Intent(attention.join_levels("self", levels))(both)) / 2
    narrow: dict[str, tuple[float, Callable[[Masks], Masks]]] = {
        "fine only in the coarse map's upper 35 %": (0.35, lambda wide: wide),
        "fine only in the coarse map's upper 60 %": (0.6, lambda wide: wide),
        "fine only in its upper 35 %, all else kept": (0.35, torch.ones_like),
    }
    for name, (share, outside) in narrow.items():
        edge = coarse.flatten().quantile(1 - share)
        region = fill.blur((coarse > edge).float()[None], 6.0)[0]
        shown = region * drawn(14, 500) + (1 - region) * outside(drawn(4, 800)[300:])
        yield f"{name}, sum", maps.stretch(coarse) + maps.stretch(asked(shown))


if __name__ == "__main__":
    main()
