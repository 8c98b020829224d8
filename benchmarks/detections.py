"""Do the maps of a detector lie on what it detected? D-RISE on real pictures, beside a hill in the middle.

python -m benchmarks.detections --pictures 30 --passes 400 --into docs/results/detections.md --rows detections.csv

The detector is SSD-MobileNet-v2 (COCO) of the data folder, the pictures those of COCO there. Of each picture the surest
detection that covers less than half of it is explained (where there are two of a class, both). Pointing game: whether the
map's peak lies in the detected rectangle. Energy: what share of the map above its mean lies there. Rows are kept, and what
has one is not made again.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import salience
from benchmarks import data, table
from salience.bench.controls import CONTROLS
from salience.picture import read
from salience.tasks.prepare import fit_picture, list_places
from salience.types import QuestionBox

MODEL = "more/models/ssd_mobilenet_v2_coco_2018_03_29.xml"
LARGEST = 0.5  # of the picture: in a larger rectangle any peak lies
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "D-RISE (RISE's masks, 16 cells)": ("rise", {"cells": 16}),
    "RISE, 7 cells, centred": ("rise", {"estimator": "centred"}),
    "occlusion, 64 pixels": ("occlusion", {"window": 64, "stride": 24}),
}
CENTRE = "a hill in the middle"
FIELDS = ("picture", "place", "method", "passes", "pointing", "energy", "area", "score")


def choose_places(box: QuestionBox, picture: Path) -> list[str]:
    """Choose the surest detection that is small enough, and its neighbour of the same class."""
    read_picture = read(picture)
    image, geometry = fit_picture(box, read_picture)
    try:
        names = list_places(box, read_picture)
    except salience.SalienceError:
        return []
    asked = box.ask(image, geometry, names[0])[0]
    corners = dict(zip(names, asked.corners, strict=True))  # type: ignore[attr-defined]  # of a detector's places
    small = [name for name in names if 0.01 < float(find_area(corners[name])) < LARGEST]
    if not small:
        return []
    kind = small[0].rpartition(" ")[0]
    return [small[0], *(name for name in small[1:] if name.rpartition(" ")[0] == kind)][:2]


def find_area(corners: Tensor) -> Tensor:
    """Measure a rectangle in shares of the image."""
    inside = corners.clamp(0, 1)
    return (inside[2:] - inside[:2]).clamp(min=0).prod()


def measure_map(saliency: Tensor, corners: Tensor) -> tuple[float, float]:
    """Say whether the peak lies in a rectangle, and what share of what stands above the mean does."""
    height, width = saliency.shape
    x0, y0, x1, y1 = (corners.clamp(0, 1) * torch.tensor([width, height, width, height])).round().int().tolist()
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    above = (saliency.double() - saliency.double().mean()).clamp(min=0)
    return float(inside.flatten()[saliency.argmax()]), float(above[inside].sum() / above.sum().clamp(min=1e-12))


def make_rows(box: QuestionBox, picture: Path, passes: int, done: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Explain the chosen detections of a picture with every method, and measure."""
    for place in choose_places(box, picture):
        corners = None
        for label, (method, settings) in METHODS.items():
            if (picture.name, place, label) in done:
                continue
            given = settings if method == "occlusion" else settings | {"budget": passes}
            why = salience.explain(box, picture, method, target=place, **given)
            corners = torch.tensor(why.box["question"]["places"][place])
            pointing, energy = measure_map(why.saliency, corners)
            about = {"picture": picture.name, "place": place, "method": label, "passes": why.passes}
            about |= {"area": float(find_area(corners)), "score": why.target.probability}
            yield about | {"pointing": pointing, "energy": energy}
        if corners is not None:
            hill = CONTROLS["centre-gaussian"]()(box, torch.zeros(3, *box.size), 0)
            pointing, energy = measure_map(hill, corners)
            area = float(find_area(corners))
            yield {"picture": picture.name, "place": place, "method": CENTRE, "passes": 0, "area": area, "score": 0.0} | {
                "pointing": pointing,
                "energy": energy,
            }


def write_page(rows: list[dict[str, Any]], words: str) -> str:
    """Lay out the table."""
    groups: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        figures = {"pointing game": float(row["pointing"]), "energy inside": float(row["energy"])}
        groups.setdefault(row["method"], []).append(figures | {"passes": float(row["passes"])})
    area = sum(float(row["area"]) for row in rows) / len(rows)
    pictures = len({row["picture"] for row in rows})
    count = len({(row["picture"], row["place"]) for row in rows})
    said = f"{count} detections in {pictures} pictures; their rectangles cover {area:.1%} of the image in the mean, which is"
    heading = table.format_heading(None, words)
    return "\n".join(
        [
            "# Maps of detections",
            "",
            " ".join((__doc__ or "").split("\n\n")[0].split()),
            "",
            heading,
            table.format_rows(groups, "method"),
            "",
            f"{said} what a map of chance would have as energy.",
            "",
        ]
    )


def main() -> None:
    """Explain, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--passes", type=int, default=400)
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/detections.csv"))
    parser.add_argument("--into", type=Path)
    given = parser.parse_args()
    folder = data.expect_folder()
    rows: list[dict[str, Any]] = []
    if given.rows.exists():
        with given.rows.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    box = salience.load(f"openvino:{folder / MODEL}")
    if not isinstance(box, QuestionBox):
        raise SystemExit(f"expected a detector, got {box}")
    done = {row["picture"] for row in rows if row["method"] == CENTRE}
    for picture in sorted((folder / "localisation" / "coco").glob("*.jpg")):
        if len(done) >= given.pictures:
            break
        if picture.name in done:
            continue
        rows_done = {(row["picture"], row["place"], row["method"]) for row in rows}
        with given.rows.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if file.tell() == 0:
                writer.writeheader()
            for row in make_rows(box, picture, given.passes, rows_done):
                writer.writerow(row)
                file.flush()
                rows.append(row)
                done.add(picture.name)
    page = write_page(rows, f"`python -m benchmarks.detections --pictures {given.pictures} --passes {given.passes}`")
    print(page)
    if given.into is not None:
        given.into.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
