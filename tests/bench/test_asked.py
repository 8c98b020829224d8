"""A bench over a model that answers for places: a place of each picture is explained and measured."""

from __future__ import annotations

from pathlib import Path

import pytest

import salience
from salience import specs
from salience.bench import rows
from salience.bench.grid import parse_grid
from salience.bench.runner import run_grid

SEGMENTER = """
import torch
from torch import nn
net = nn.Conv2d(3, 4, 1)
with torch.no_grad():
    net.weight.copy_(torch.cat([torch.zeros(1, 3), 8 * torch.eye(3) - 4])[..., None, None])
    net.bias.zero_()
"""


@pytest.mark.parametrize("target", ["predicted", "label"])
def test_the_places_of_pictures_are_explained_and_measured(target: str, tmp_path: Path) -> None:
    """Of each picture the largest region, or that of its label; the rows say which, and have values."""
    (tmp_path / "net.py").write_text(SEGMENTER)
    box = {"spec": f"py:{tmp_path / 'net.py'}:net", "size": 32, "classes": ["background", "red", "green", "blue"]}
    data = {"shapes": {"spec": "shapes:plain", "count": 3, "size": 32}}
    axes = {"methods": {"occlusion": {"window": 8, "stride": 8}}, "boxes": {"regions": box}, "data": data}
    grid = parse_grid(axes | {"measures": ["deletion", "sparsity"], "target": target, "controls": False})
    table = rows.read_rows(run_grid(grid, grid.cells, tmp_path / "run")).to_pylist()
    assert len(table) == 6
    assert {row["target"] for row in table} <= {"red", "green", "blue"}
    assert all(row["value"] is not None and row["failure"] is None for row in table)
    first = next(row for row in table if row["measure"].startswith("deletion"))
    asked = salience.load(box["spec"], size=32, classes=box["classes"])
    sample = next(each for each in specs.open_data("shapes:plain", count=3, size=32) if each.id == first["picture"])
    why = salience.explain(asked, sample.picture, "occlusion", target=first["target"], window=8, stride=8, batch=8)
    assert salience.measure(asked, why, ["deletion"], batch=8)[0].value == pytest.approx(first["value"], abs=1e-5)
