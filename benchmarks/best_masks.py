"""Does evolution find smaller sufficient regions? DE-CAM's best masks beside the maps of other methods.

    python -m benchmarks.best_masks --pictures 12 --out runs/best_masks.jsonl --sheet runs/best_masks    # goes on
    python -m benchmarks.best_masks --out runs/best_masks.jsonl --table                                  # prints

For each picture that the box gets right: DE-CAM and the same without evolution, in three encodings, and the maps of
other methods at the same budget. A map is cut at a share: exactly so many of its highest pixels show the picture, all
others the fill that DE-CAM's masks have. A map is cut at the area of every best mask m*, and at fifty shares from 2 %
to 100 %; m* itself is cut too, for it may be a veil, and a veil of one opacity everywhere stands beside it. `--sheet`
draws a strip a picture. All pictures: `--pictures 277`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor

from benchmarks import best_masks_table, data
from benchmarks.sise import read_rows
from salience import registry
from salience.bench.controls import CentreGaussian
from salience.draw.page import FigurePage
from salience.engine import maps, seeding
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.estimates import Sampler
from salience.methods.de_cam import DeCam
from salience.types import BlackBox, Image, Map, Masks, Probabilities, Scores

SEARCHES: dict[str, dict[str, Any]] = {
    f"{encoding}, {words}": {"encoding": encoding, "variant": variant}
    for encoding in ("grid", "regions", "blobs")
    for words, variant in (("evolved", "r1"), ("unevolved", "unevolved"))
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "rise, centred": ("rise", {"estimator": "centred"}),
    "iassa plus": ("iassa", {"variant": "plus"}),
    "multiscale-rise": ("multiscale-rise", {}),
    "sise": ("sise", {}),
    "grad-cam": ("grad-cam", {}),
}
DRAWN = ("rise, centred", "iassa plus", "sise", "grad-cam")


def main() -> None:
    """Make what is missing, then print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    options.add_argument("--pictures", type=int, default=12)
    options.add_argument("--budget", type=int, default=1000, help="passes of every method that has a choice")
    options.add_argument("--out", type=Path, default=Path("runs/best_masks.jsonl"))
    options.add_argument("--sheet", type=Path, help="a folder for a strip of each picture that is measured")
    options.add_argument("--table", action="store_true", help="print only")
    given = options.parse_args()
    if not given.table:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        append_rows(given)
    best_masks_table.print_tables(read_rows(given.out))


def append_rows(given: argparse.Namespace) -> None:
    """Append a line for each picture that has none yet."""
    there = {(row["box"], row["picture"], row["budget"]) for row in read_rows(given.out)}
    box = data.BOXES[given.box]()
    sources = ("imagenette",) if given.box == "vgg16" else ("imagenette", "coco")
    pool = data.iterate_recognised(data.sample_cases(data.read_cases(*sources), 277, seed=13), box)
    for case, image, _, top in track(itertools.islice(pool, given.pictures), "pictures", total=given.pictures):
        about = {"box": box.name, "picture": case.file.stem, "budget": given.budget}
        if tuple(about.values()) in there:
            continue
        best, found, passes = explain_all(box, image, top, given.budget)
        found["random 7×7"] = maps.resize(torch.rand(7, 7, generator=seeding.generator(0, case.file.stem)), box.size)
        found["centre"] = CentreGaussian()(box, image, top)
        row = about | {"backend": box.backend, "passes": passes} | measure_masks(box, image, top, best, found)
        with given.out.open("a", encoding="utf-8") as file:  # one line, so that a kill leaves all of it or none
            file.write(json.dumps(row) + "\n")
        if given.sheet:
            draw_strip(given.sheet / f"{case.file.stem}.png", box, image, best, found, row)


def explain_all(box: BlackBox, image: Image, top: int, budget: int) -> tuple[dict[str, Map], dict[str, Map], dict[str, int]]:
    """Return the best mask of each search, all maps, and what each took."""
    best: dict[str, Map] = {}
    found: dict[str, Map] = {}
    passes: dict[str, int] = {}
    for name, settings in SEARCHES.items():
        with start_run(budget, 8) as run:
            last = loop.run_to_end(DeCam(**settings).watch(box, image, top))
        best[name] = found[f"{name}, m*"] = last.evidence["mask"]
        found[f"{name}, map"] = last.saliency
        passes |= dict.fromkeys((name, f"{name}, map"), run.passes)
    for name, (method, settings) in METHODS.items():
        made = registry.make_method(method, **settings)
        with start_run(budget if isinstance(made, Sampler) else None, 8) as run:
            found[name] = made(box, image, top).float().cpu()
        passes[name] = run.passes
    return best, found, passes


def measure_masks(box: BlackBox, image: Image, top: int, best: dict[str, Map], found: dict[str, Map]) -> dict[str, Any]:
    """Score the picture through each best mask, and through each map cut at their areas and down the ladder."""
    areas = [float(mask.double().mean()) for mask in best.values()]
    shares = [*areas, *best_masks_table.LADDER]
    kept = score_shown(box, image, top, torch.stack([torch.ones_like(image[0]), *best.values()]))
    veils = torch.tensor(shares)[:, None, None].expand(-1, *image.shape[1:])
    return {
        "whole": kept[0],
        "best": {name: (area, score) for name, area, score in zip(best, areas, kept[1:], strict=True)},
        "cuts": {name: score_shown(box, image, top, cut(saliency, shares)) for name, saliency in found.items()}
        | {"veil": score_shown(box, image, top, veils)},
    }


def score_shown(box: BlackBox, image: Image, top: int, shown: Masks) -> list[float]:
    """Score the picture through masks; the sign is negative where another class is ahead."""

    def signed(probabilities: Probabilities) -> Scores:
        return probabilities[:, top] * (2 * (probabilities.argmax(1) == top) - 1)

    baseline = fill.make_fill(DeCam().fill, box, image)
    with start_run(batch=8):
        scores = [part.cpu() for _, _, part in loop.score_masked(box, image, signed, [masks.FullMasks(shown)], baseline)]
    return [round(each, 6) for each in torch.cat(scores).tolist()]


def cut(saliency: Map, shares: list[float]) -> Float[Tensor, "n h w"]:
    """Make a mask of each share of the highest pixels; among equal ones the first in reading order."""
    order = saliency.flatten().argsort(descending=True, stable=True)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order))).reshape(saliency.shape)
    return torch.stack([place < round(share * len(order)) for share in shares]).float()


def draw_strip(
    file: Path, box: BlackBox, image: Image, best: dict[str, Map], found: dict[str, Map], row: dict[str, Any]
) -> None:
    """Draw the picture, the best masks of evolution, and maps cut at the area of the grid's."""
    size, areas = 200, [row["best"][name][0] for name in best]
    panels = [("picture", torch.ones_like(image[0]), 1.0, row["whole"])]
    panels += [(name, mask, *row["best"][name]) for name, mask in best.items()]
    for name in ("grid, evolved, m*", *DRAWN):
        words = "grid, cut" if name.endswith("m*") else name
        panels.append((words, cut(found[name], areas[:1])[0], areas[0], row["cuts"][name][0]))
    page = FigurePage((size + 10) * len(panels) + 10, size + 60)
    baseline = fill.make_fill(DeCam().fill, box, image)
    for number, (name, mask, area, score) in enumerate(panels):
        left = 10 + number * (size + 10)
        seen = torch.lerp(baseline, image, mask).clamp(0, 1).permute(1, 2, 0)
        page.say(name, left, 8, size, 14, bold=True)
        page.show(seen.numpy(), left, 28, size, size)
        page.say(f"{area:.0%} shown, {abs(score):.3f}{'' if score > 0 else ', not first'}", left, size + 34, size, 13)
    file.parent.mkdir(parents=True, exist_ok=True)
    page.figure.savefig(file)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
