"""Running a grid: rows, evidence, resumption after any kill."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from salience.bench import grid as grids
from salience.bench import rows
from salience.bench.runner import estimate_cost, plan_units
from salience.errors import GridError
from tests.bench import tiny


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Run the tiny grid once."""
    out = tmp_path_factory.mktemp("run")
    return out, tiny.run(out)


def test_every_cell_has_a_row_a_picture_and_measure(undisturbed: tuple[Path, list[dict[str, Any]]]) -> None:
    """8 cells, 12 pictures, 3 measures; none fails."""
    _, found = undisturbed
    keys = {(row["cell"], row["picture"], row["measure"]) for row in found}
    assert len(found) == len(keys) == 8 * 12 * 3
    assert {row["failure"] for row in found} == {"None"}


def test_a_finished_run_does_nothing_again(undisturbed: tuple[Path, list[dict[str, Any]]]) -> None:
    """Not a byte of a cell changes."""
    out, found = undisturbed
    before = {file: file.read_bytes() for file in (out / "cells").iterdir()}
    assert tiny.run(out) == found
    assert {file: file.read_bytes() for file in (out / "cells").iterdir()} == before


def test_a_good_method_beats_the_controls_and_a_figure_is_right(undisturbed: tuple[Path, list[dict[str, Any]]]) -> None:
    """Grad-CAM of a box that sees colour lies on the coloured object; of random order, its share of the area does."""
    _, found = undisturbed
    mean = {
        name: np.mean([float(row["value"]) for row in found if name in row["method"] and "energy" in row["measure"]])
        for name in ("grad-cam", "random-order", "edge-detector")
    }
    assert mean["grad-cam"] > 2 * mean["random-order"]


def test_evidence_lies_beside_the_rows(undisturbed: tuple[Path, list[dict[str, Any]]]) -> None:
    """The map in 256 steps, and the picture as the box saw it."""
    out, _ = undisturbed
    stored = np.load(next((out / "evidence" / "rise--colour--scenes--0").iterdir()))
    assert stored["map"].shape == (32, 32)
    assert (stored["map"].min(), stored["map"].max()) == (0, 255)
    assert len(list((out / "pictures" / "colour--scenes").glob("*.jpg"))) == 12


def test_several_workers_write_the_same_rows(undisturbed: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    """Cells are independent, and a map does not depend on who else runs."""
    assert tiny.run(tmp_path, workers=2) == undisturbed[1]


def doomed(out: str) -> None:
    """Run the grid until killed; for a process of its own."""
    torch.set_num_threads(1)
    tiny.run(Path(out))


@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_rows_after_many_kills_are_those_of_an_undisturbed_run(
    undisturbed: tuple[Path, list[dict[str, Any]]], tmp_path: Path, times: int
) -> None:
    """SIGKILL at random moments; what was written stays, what was not is made, and nothing is there twice."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.bench.test_bench"])
    chance, kills, ends = random.Random(0), 0, 0  # noqa: S311  # moments, not secrets
    out = tmp_path / "0"
    while kills < times:
        process = context.Process(target=doomed, args=(str(out),))
        process.start()
        process.join(chance.uniform(0.0, 1.0))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it came to its end before: compare, and begin another
            assert tiny.plain(rows.read_rows(out).to_pylist()) == undisturbed[1]
            ends += 1
            out = tmp_path / str(ends)
    assert tiny.run(out) == undisturbed[1]


def test_two_runs_at_once_do_not_double_a_row(undisturbed: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    """As when a killed run's workers are still alive while the next one begins."""
    context = multiprocessing.get_context("forkserver")
    both = [context.Process(target=doomed, args=(str(tmp_path),)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    assert tiny.plain(rows.read_rows(tmp_path).to_pylist()) == undisturbed[1]


def test_units_go_through_all_cells_before_the_next_pictures(tmp_path: Path) -> None:
    """A run that is stopped early has tables in balance."""
    grid = grids.parse_grid(tiny.RAW)
    begins = [unit.begin for unit in plan_units(grid, grid.cells, tmp_path)]
    assert begins == sorted(begins)
    assert len(begins) == 8 * 3


def test_a_method_that_fails_is_a_row_that_says_so(tmp_path: Path) -> None:
    """The others go on."""
    raw = tiny.RAW | {"methods": {"attention-rollout": {}, "gradient": {}}, "controls": False}
    found = tiny.run(tmp_path, raw)
    failed = [row for row in found if row["method"] == "'attention-rollout'"]
    assert len(failed) == 12
    assert all("attention" in row["failure"] for row in failed)
    assert len(found) == 12 + 12 * 3


def test_another_grid_in_the_same_folder_is_refused(undisturbed: tuple[Path, list[dict[str, Any]]]) -> None:
    """Rows of two grids never mix."""
    with pytest.raises(GridError, match="choose another --out"):
        tiny.run(undisturbed[0], tiny.RAW | {"measures": ["energy"]})


def test_pictures_without_a_right_answer_are_left_out_on_request(tmp_path: Path) -> None:
    """And if none is left, a sentence asks about labels."""
    raw = tiny.RAW | {"boxes": {"colour": {"spec": "toy:constant", "size": 32}}, "right": True}
    with pytest.raises(GridError, match="do the labels name classes of the box"):
        tiny.run(tmp_path, raw)


def test_a_trial_tells_passes_and_writes_no_row(tmp_path: Path) -> None:
    """What `--dry-run` prints: RISE's masks, then one pass for each score of the measures."""
    grid = grids.parse_grid(tiny.RAW)
    cell = next(each for each in grid.cells if each.method.name == "rise")
    found = estimate_cost(grid, cell, tmp_path)
    assert (found.pictures, found.passes) == (12, 64 + 2)
    assert not (tmp_path / "cells").exists()


def test_a_run_says_what_it_ran_on(undisturbed: tuple[Path, list[dict[str, Any]]]) -> None:
    """Versions, machine, date."""
    about = json.loads((undisturbed[0] / "run.json").read_text(encoding="utf-8"))
    assert {"salience", "torch", "python", "machine", "started"} <= set(about)
    assert abs(time.time() - time.mktime(time.strptime(about["started"], "%Y-%m-%d %H:%M UTC"))) < 2 * 86400
