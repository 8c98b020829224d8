"""What earlier versions wrote still loads. The files in `old_files` were made at commit 0f3c1b3."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import salience
from salience.bench import grid as grids
from salience.bench import rows
from salience.bench.runner import run_grid
from salience.describe.explanation import describe_backend

OLD = Path(__file__).parent / "old_files"


def test_a_record_with_a_lane_loads_and_shows_it_as_the_backend() -> None:
    """The key was renamed; what the record says was not."""
    why = salience.Explanation.load(OLD / "rise.salience")

    assert why.box["backend"] == why.summary()["backend"] == "exact"
    assert "lane" not in why.box
    assert describe_backend(why.box) == "exact passes"
    assert why.picture.size == (32, 40)
    assert repr(why).startswith("<rise of 'red' (0.707) in array: 64 passes")


def test_an_old_record_can_be_made_and_measured_again() -> None:
    """Box, method, settings and budget are named as they were."""
    why = salience.Explanation.load(OLD / "rise.salience")

    again = salience.explain("toy:colour", why.picture, why.method, budget=64, **why.settings)

    torch.testing.assert_close(again.saliency, why.saliency)
    assert [each.protocol for each in salience.measure("toy:colour", why, ["sparsity"])] == ["sparsity/gini"]


@pytest.mark.parametrize("file", ["run", "run/rows.parquet"])
def test_rows_with_a_lane_are_read_with_a_backend(file: str) -> None:
    """Journals and Parquet alike."""
    table = rows.read_rows(OLD / file)

    assert table.column("backend").to_pylist() == ["exact"] * 3
    assert "lane" not in table.column_names


def test_an_old_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Its selection is found in `scenes`, and no picture is explained twice."""
    out = tmp_path / "run"
    shutil.copytree(OLD / "run", out)
    before = [each.read_bytes() for each in (out / "cells").glob("*.jsonl")]
    grid = grids.read_grid(OLD / "run" / "grid.toml")

    run_grid(grid, grid.cells, out)

    assert [each.read_bytes() for each in (out / "cells").glob("*.jsonl")] == before
    assert not (out / "selections").exists()
