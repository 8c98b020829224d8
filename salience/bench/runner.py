"""Run a grid: its units dealt out to processes on one machine. Cells are independent, so it may be killed at any moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from salience.bench import places, rows
from salience.bench.grid import Cell, Grid
from salience.bench.journal import DAMAGED, Journal
from salience.bench.selection import open_selection
from salience.bench.unit import Unit, measure_pictures, run_unit
from salience.errors import GridError
from salience.files import make_folder, write_whole

Tick = Callable[[int, int], None]
"""Called with the units done and all of them."""


def run_grid(
    grid: Grid, cells: Sequence[Cell], out: Path, *, workers: int = 1, text: str = "", tick: Tick | None = None
) -> Path:
    """Do what is left of the cells and write all rows as Parquet; return that file.

    >>> import tempfile
    >>> from salience.bench.grid import parse_grid
    >>> axes = {"methods": {"gradient": {}}, "boxes": {"toy": "toy:colour"}}
    >>> data = {"shapes": {"spec": "shapes:plain", "count": 2, "size": 32}}
    >>> grid = parse_grid(axes | {"data": data, "measures": ["sparsity"], "controls": False})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows.read_rows(run_grid(grid, grid.cells, Path(folder))).num_rows
    2
    """
    if workers < 1:
        raise GridError(f"expected one worker or more, got {workers}")
    expect_same_grid(grid, cells, out)
    make_folder(out)
    units = plan_units(grid, cells, out)
    _write_header(out, text)  # a grid that was refused has replaced nothing
    if tick is not None:
        tick(0, len(units))
    if workers == 1:
        for done, unit in enumerate(units, start=1):
            run_unit(grid, unit, out)
            if tick is not None:
                tick(done, len(units))
    else:
        _run_workers(grid, units, out, workers, tick)
    expect_complete(grid, cells, out)
    return rows.write_parquet(out)


def expect_same_grid(grid: Grid, cells: Sequence[Cell], out: Path) -> None:
    """Look at all that is there before anything is written; GridError where it is of another grid.

    >>> from salience.bench.grid import parse_grid
    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}})
    >>> expect_same_grid(grid, grid.cells, Path("nowhere"))
    """
    for cell in cells:
        _ = Journal(places.find_journal(out, cell), grid.digest(cell)).pictures
    for cell in cells:
        if places.find_selection(out, cell.box.label, cell.data.label).exists():
            open_selection(grid, cell, out)


def expect_complete(grid: Grid, cells: Sequence[Cell], out: Path) -> None:
    """Count the pictures that have rows against the plan; GridError where some are missing.

    >>> import tempfile
    >>> from salience.bench.grid import parse_grid
    >>> data = {"shapes": {"spec": "shapes:plain", "count": 2, "size": 32}}
    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": data, "controls": False})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     expect_complete(grid, grid.cells, Path(folder))
    Traceback (most recent call last):
        ...
    salience.errors.GridError: expected rows of 2 pictures in ..., got 0: ...
    """
    planned = done = 0
    for cell in cells:
        chosen = {each.id for each in open_selection(grid, cell, out).chosen}
        planned += len(chosen)
        done += len(chosen & Journal(places.find_journal(out, cell), grid.digest(cell)).pictures)
    if done < planned:
        raise GridError(
            f"expected rows of {planned:,} pictures in {out}, got {done:,}: what is missing was lost while the run went on "
            "(was its folder moved or deleted?), run again"
        )


def plan_units(grid: Grid, cells: Sequence[Cell], out: Path) -> list[Unit]:
    """List the units, the first pictures of all cells first: whenever a run is stopped, its tables are in balance.

    >>> import tempfile
    >>> from salience.bench.grid import parse_grid
    >>> axes = {"methods": {"gradient": {}, "occlusion": {}}, "boxes": {"toy": "toy:colour"}}
    >>> data = {"shapes": {"spec": "shapes:plain", "count": 4, "size": 32}}
    >>> grid = parse_grid(axes | {"data": data, "controls": False, "batch": 2})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [(unit.cell.method.name, unit.begin) for unit in plan_units(grid, grid.cells, Path(folder))]
    [('gradient', 0), ('occlusion', 0), ('gradient', 2), ('occlusion', 2)]
    """
    counts = [(cell, len(open_selection(grid, cell, out).chosen)) for cell in cells]
    units = [Unit(cell, begin) for cell, count in counts for begin in range(0, count, grid.batch)]
    return sorted(units, key=lambda unit: unit.begin)


def _write_header(out: Path, text: str) -> None:
    """Write down what is run, and on what."""
    if text:
        write_whole(out / "grid.toml", text.encode())
    about = {
        "salience": version("salience"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    if not (out / "run.json").exists():
        write_whole(out / "run.json", json.dumps(about, indent=1).encode())


def _run_workers(grid: Grid, units: Sequence[Unit], out: Path, workers: int, tick: Tick | None) -> None:
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")  # a forked torch hangs
    begin = (threads, os.getpid())
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=begin) as pool:
        waiting = {pool.submit(run_unit, grid, unit, out) for unit in units}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
                if tick is not None:
                    tick(len(units) - len(waiting), len(units))
        except BrokenProcessPool:
            raise GridError(
                "expected all workers to live, got one that was killed (out of memory?): nothing is lost, run again "
                "with fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(threads: int, parent: int) -> None:
    """Prepare a worker: its share of the cores, and an end when its parent ends."""
    import threading

    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message=DAMAGED)  # the parent has said it

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)  # nobody waits for the rest; what was written is whole

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class CellCost:
    """What a cell will take, from a trial on its first picture.

    >>> from salience.bench.grid import parse_grid
    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}})
    >>> cost = CellCost(grid.cells[0], pictures=100, passes=4000, seconds=2.0)
    >>> cost.pictures * cost.seconds
    200.0
    """

    cell: Cell
    pictures: int  # that have no rows yet
    passes: int  # each
    seconds: float  # each


def estimate_cost(grid: Grid, cell: Cell, out: Path) -> CellCost:
    """Try a cell's first picture, without writing anything of it down.

    >>> import tempfile
    >>> from salience.bench.grid import parse_grid
    >>> axes = {"methods": {"gradient": {}}, "boxes": {"toy": "toy:colour"}}
    >>> data = {"shapes": {"spec": "shapes:plain", "count": 2, "size": 32}}
    >>> grid = parse_grid(axes | {"data": data, "measures": ["sparsity"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     estimate_cost(grid, grid.cells[0], Path(folder)).pictures
    2
    """
    selection = open_selection(grid, cell, out)
    journal = Journal(places.find_journal(out, cell), grid.digest(cell))
    left = len(selection.chosen) - len(journal.pictures)
    began = time.perf_counter()
    ((_, measured, _),) = measure_pictures(grid, cell, selection, selection.chosen[:1])
    seconds = time.perf_counter() - began
    passes = measured[0].get("map_passes") or 0
    return CellCost(cell, left, passes + sum(row.get("passes") or 0 for row in measured), seconds)
