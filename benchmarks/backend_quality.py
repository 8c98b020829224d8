"""Does the backend touch the quality? The leaderboard in exact and auto: `python -m benchmarks.backend_quality`.

Runs the grid of `benchmarks/leaderboard.toml` twice, each into a folder of its own that a later call goes on with. For
every column it says how far the means of a method differ at most, and that as a share of half the interval which
the mean in exact has: below 1, nobody who reads the table could tell. `--pictures` as many as the leaderboard's, or fewer.
"""

from __future__ import annotations

import argparse
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks import table
from salience.bench import compare, grid, rows, statistics
from salience.bench.compare import Change, Kind
from salience.bench.runner import run_grid

LEADERBOARD = Path(__file__).with_name("leaderboard.toml")
BACKENDS = ("exact", "auto")


def main() -> None:
    """Run what is left of both, compare, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("runs/backends"))
    options.add_argument("--boxes", default="lite0,vit")
    options.add_argument("--data", default="imagenette")
    options.add_argument("--pictures", type=int, default=12)
    options.add_argument("--workers", type=int, default=1)
    given = options.parse_args()
    for backend in BACKENDS:
        made = grid.parse_grid(make_grid(backend, given.boxes.split(","), given.data, given.pictures))
        run_grid(made, made.cells, given.out / backend, workers=given.workers)
    print_differences(given.out)


def make_grid(backend: str, boxes: list[str], data: str, pictures: int) -> dict[str, Any]:
    """Change the leaderboard's grid: one set of data, some boxes, all in a backend."""
    raw = tomllib.loads(LEADERBOARD.read_text(encoding="utf-8"))
    raw["boxes"] = {label: {"spec": raw["boxes"][label], "backend": backend} for label in boxes}
    raw["data"] = {data: raw["data"][data] | {"pictures": pictures, "boxes": boxes}}
    for name, settings in raw["methods"].items():
        kept = [label for label in settings.get("boxes", boxes) if label in boxes]
        raw["methods"][name] = settings | {"boxes": kept}
    raw["methods"] = {name: settings for name, settings in raw["methods"].items() if settings["boxes"]}
    return raw


def print_differences(out: Path) -> None:
    """Print a row a column of the leaderboard."""
    exact, auto = (rows.read_rows(out / backend) for backend in BACKENDS)
    halves = {
        Kind(column.key.box, column.key.data, column.key.measure, one.method): one.mean.half
        for column in statistics.make_columns(exact)
        for one in statistics.summarise(column, [])
    }
    found = defaultdict[tuple[str, str, str], list[Change]](list)
    for change in compare.compare(out / "exact", out / "auto").changes:
        found[change.kind[:3]].append(change)
    backends = {
        box: sorted({row["backend"] for row in auto.select(["box", "backend"]).to_pylist() if row["box"] == box})
        for box in {kind[0] for kind in found}
    }
    print(
        table.format_heading(
            None, "; ".join(f"{box}: exact and {', '.join(names)}" for box, names in sorted(backends.items()))
        )
    )
    print("| box | data | measure | N | methods | differ at most by | of half the interval | by more than it | and surely |")
    print("|---" * 9 + "|")
    for (box, data, measure), changes in sorted(found.items()):
        gaps = [abs(each.gap.mean) for each in changes]
        shares = [gap / max(halves[each.kind], 1e-12) if gap else 0.0 for gap, each in zip(gaps, changes, strict=True)]
        count, surely = max(each.gap.n for each in changes), sum(each.gap.sure for each in changes)
        beyond = [each.kind.method for each, share in zip(changes, shares, strict=True) if share > 1]
        cells = [f"{len(changes)}", f"{max(gaps):.4f}", f"{max(shares):.2f}", ", ".join(beyond) or "none", f"{surely}"]
        print(f"| {box} | {data} | {measure} | {count} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
