"""The tables of `benchmarks.best_masks`, and what they count. Scores are negative where another class is ahead."""

from __future__ import annotations

import itertools
import math
from typing import Any

from benchmarks import table
from salience.methods.de_cam import EPS, DeCam

LADDER = tuple(number / 50 for number in range(1, 51))
MOST = 0.9  # of the whole picture's probability
HARD = "m* of regions, evolved"  # it shows or hides, as maps that are cut do: all others are held against it
Row = dict[str, Any]
Lines = dict[str, list[dict[str, float]]]


def fitness(area: float, score: float) -> float:
    """Value a mask as DE-CAM's search does."""
    return 1 - math.log(abs(score) + EPS) / math.log(EPS) - DeCam().area_weight * area


def fittest(scores: list[float]) -> tuple[float, float]:
    """Return share and score of the rung that DE-CAM's search would choose."""
    return max(zip(LADDER, scores, strict=True), key=lambda each: fitness(*each))


def smallest(scores: list[float], whole: float) -> float:
    """Return the lowest rung that keeps enough; the whole picture does."""
    return next((share for share, score in zip(LADDER, scores, strict=True) if is_enough(score, whole)), 1.0)


def is_enough(score: float, whole: float) -> bool:
    """Say whether nine tenths of the whole picture's probability are kept."""
    return abs(score) >= MOST * abs(whole)


def round_area(area: float) -> float:
    """Round up to the ladder, where areas are compared with rungs."""
    return next((share for share in LADDER if share >= area - 1e-9), 1.0)


def print_tables(rows: list[Row]) -> None:
    """Print the tables of each box and budget."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["box"], row["backend"], row["budget"]), []).append(row)
    for (box, backend, budget), some in groups.items():
        words = f"predicted class, right answers only, N = {len(some)}, budget {budget} passes"
        print(f"\n{box}, backend {backend}; {table.format_heading(None, words)}")
        print_evolution(some)
        print_fitness(some)
        for name in list_evolved(some):
            print_equal_area(some, name)
        for where in (None, *list_evolved(some)):
            print_areas(some, where)


def list_evolved(rows: list[Row]) -> list[str]:
    """Name the searches that are no ablation."""
    return [name for name in rows[0]["best"] if "unevolved" not in name]


def print_evolution(rows: list[Row]) -> None:
    """Compare each search with its ablation, picture by picture."""
    lines: Lines = {}
    for row, name in itertools.product(rows, list_evolved(rows)):
        (area, score), (before, without) = (row["best"][each] for each in (name, name.replace("evolved", "unevolved")))
        gain, whole = fitness(area, score) - fitness(before, without), abs(row["whole"])
        lines.setdefault(name.split(",")[0], []).append(
            {
                "fitness ↑": gain,
                "fitter ↑": gain > 0,
                "area ↓": area - before,
                "smaller ↑": area < before,
                "kept ↑": (abs(score) - abs(without)) / whole,
            }
        )
    print("**What evolution adds** to the best mask: evolved − unevolved, and on what share of the pictures.\n")
    print(table.format_rows(lines, lead="encoding"))


def print_fitness(rows: list[Row]) -> None:
    """Compare by the search's own aim: best masks, the same cut, and maps cut where DE-CAM's fitness is highest."""
    lines: Lines = {}
    for row in rows:
        found: dict[str, tuple[float, float, int]] = {}
        for number, (name, (area, score)) in enumerate(row["best"].items()):
            found[f"m* of {name}"] = (area, score, row["passes"][name])
            found[f"m* of {name}, cut"] = (area, row["cuts"][f"{name}, m*"][number], row["passes"][name])
        for name, scores in row["cuts"].items():
            if not name.endswith("m*"):
                found[name] = (*fittest(scores[-len(LADDER) :]), row["passes"].get(name, 0) + len(LADDER))
        for name, (area, score, passes) in found.items():
            lines.setdefault(name, []).append(
                {
                    "area ↓": area,
                    "kept ↑": abs(score / row["whole"]),
                    "keeps 90 % ↑": is_enough(score, row["whole"]),
                    "class first ↑": score > 0,
                    "fitness ↑": fitness(area, score),
                    "behind regions ↓": fitness(*found[HARD][:2]) - fitness(area, score),
                    "passes": passes,
                }
            )
    print("\n**The search's own aim.** Maps are cut at the rung that DE-CAM's fitness likes best; m* at its own area.\n")
    print(table.format_rows(dict(sorted(lines.items(), key=lambda each: not each[0].startswith("m*"))), lead="mask"))


def print_equal_area(rows: list[Row], name: str) -> None:
    """Compare at the area of one search's best masks."""
    number, lines = list(rows[0]["best"]).index(name), Lines()
    for row in rows:
        scores = {"m* as found": row["best"][name][1], "m* cut": row["cuts"][f"{name}, m*"][number]}
        scores |= {other: cuts[number] for other, cuts in row["cuts"].items() if not other.endswith("m*")}
        kept = {other: abs(score / row["whole"]) for other, score in scores.items()}
        for other, score in scores.items():
            lines.setdefault(other, []).append(
                {
                    "kept ↑": kept[other],
                    "class first ↑": score > 0,
                    "m* cut ahead by": kept["m* cut"] - kept[other],
                    "m* as found ahead by": kept["m* as found"] - kept[other],
                }
            )
    area = sum(row["best"][name][0] for row in rows) / len(rows)
    print(f"\n**At the area of m* ({name})**, {area:.3f} on average.\n")
    print(table.format_rows(lines, lead="map"))


def print_areas(rows: list[Row], name: str | None) -> None:
    """Compare the smallest areas that keep nine tenths, where one search's best mask does; or on all pictures.

    Where it need not, the best mask of the regions is cut down the ladder as the maps are.
    """
    some = [row for row in rows if name is None or is_enough(row["best"][name][1], row["whole"])]
    where = f"on the {len(some)} of {len(rows)} pictures where m* ({name}) does" if name else f"on all {len(some)} pictures"
    print(f"\n**The smallest area that keeps 90 %** {where}.\n")
    lines: Lines = {}
    for row in some:
        found = {other: smallest(cuts[-len(LADDER) :], row["whole"]) for other, cuts in row["cuts"].items()}
        if name:
            found = {"m* as found": round_area(row["best"][name][0])} | found
        mine = found["m* as found" if name else "regions, evolved, m*"]
        for other, area in found.items():
            words = f"{other} cut" if other.endswith("m*") else other
            line = {"area ↓": area, "m* smaller by": area - mine, "m* smaller": area > mine, "m* larger": area < mine}
            lines.setdefault(words, []).append(line)
    if lines:
        print(table.format_rows(lines, lead="map"))
