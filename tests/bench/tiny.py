"""A grid that takes a second: toy boxes, drawn scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salience.bench import grid as grids
from salience.bench import rows
from salience.bench.runner import run_grid

if TYPE_CHECKING:
    from pathlib import Path

RAW: dict[str, Any] = {
    "methods": {"gradient": {}, "rise": {"masks": 64}, "grad-cam": {}},
    "boxes": {"colour": {"spec": "toy:colour", "size": 32}},
    "data": {"scenes": {"spec": "shapes:plain", "count": 20, "size": 32, "pictures": 12}},
    "measures": ["energy", "average-drop/sise-15", "sparsity/gini"],
    "seeds": [0, 1],
    "batch": 4,
}
COSTS = ("seconds", "map_seconds")  # the only columns that may differ between two runs


def run(out: Path, raw: dict[str, Any] = RAW, workers: int = 1) -> list[dict[str, Any]]:
    """Run a grid to its end; return its rows."""
    grid = grids.parse_grid(raw)
    return plain(rows.read_rows(run_grid(grid, grid.cells, out, workers=workers)).to_pylist())


def plain(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what a clock says; NaN equals itself when it is written."""
    return [{key: repr(value) for key, value in row.items() if key not in COSTS} for row in found]
