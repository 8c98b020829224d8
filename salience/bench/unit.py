"""One unit of work: a few pictures of a cell explained together, measured one by one, and written down."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from salience import __version__, specs
from salience.bench import grid as grids
from salience.bench import places
from salience.bench.grid import Cell, Grid
from salience.bench.journal import Journal, Row
from salience.bench.peak_memory import track_peak_memory
from salience.bench.selection import SelectedPicture, Selection, open_selection
from salience.case import Case, Measure
from salience.engine import maps
from salience.engine import target as targets
from salience.engine.query import allocator
from salience.errors import SalienceError
from salience.explanation import Explanation
from salience.files import write_whole
from salience.tasks.assemble_case import assemble_case
from salience.tasks.explain_many import explain_pictures
from salience.tasks.measure import Measurement, ask_again, find_missing, make_measures, measure_case
from salience.types import Map

SIDE = 112  # pixels: maps are kept as evidence at this size, in 256 steps


@dataclass(frozen=True)
class Unit:
    """Pictures `begin` up to the next unit's of one cell; always explained together, so a map has the same neighbours.

    >>> axes = {"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}}
    >>> grid = grids.parse_grid(axes)
    >>> Unit(grid.cells[0], begin=8).cell.name
    'rise--toy--shapes--0'
    """

    cell: Cell
    begin: int

    def select(self, selection: Selection, size: int) -> tuple[SelectedPicture, ...]:
        """Return the pictures."""
        return selection.chosen[self.begin : self.begin + size]


def run_unit(grid: Grid, unit: Unit, out: Path) -> int:
    """Do what is left of a unit; return for how many pictures rows were added.

    >>> import tempfile
    >>> data = {"shapes": {"spec": "shapes:plain", "count": 2, "size": 32}}
    >>> grid = grids.parse_grid({"methods": {"gradient": {}}, "boxes": {"toy": "toy:colour"}, "data": data})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_unit(grid, Unit(grid.cells[0], begin=0), Path(folder))
    2
    """
    cell = unit.cell
    places.make_folder(out, "cells")
    journal = Journal(places.find_journal(out, cell), grid.digest(cell))
    selection = open_selection(grid, cell, out)
    pictures = unit.select(selection, grid.batch)
    done = journal.pictures
    if all(one.id in done for one in pictures):
        return 0
    added = 0
    for one, rows, evidence in measure_pictures(grid, cell, selection, pictures, skip=done):
        if evidence:
            folder = places.make_folder(out, "evidence", journal.path.stem)
            write_whole(folder / f"{selection.names[one.id]}.npz", evidence)
        added += journal.add(one.id, [row | {"cell": journal.path.stem} for row in rows])
    allocator.release_memory()
    return added


def measure_pictures(
    grid: Grid, cell: Cell, selection: Selection, part: tuple[SelectedPicture, ...], skip: frozenset[str] = frozenset()
) -> Iterator[tuple[SelectedPicture, list[Row], bytes]]:
    """Explain and measure; yield each picture's rows and its evidence.

    >>> import tempfile
    >>> data = {"shapes": {"spec": "shapes:plain", "count": 2, "size": 32}}
    >>> axes = {"methods": {"gradient": {}}, "boxes": {"toy": "toy:colour"}, "data": data}
    >>> grid = grids.parse_grid(axes | {"measures": ["sparsity"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     selection = open_selection(grid, grid.cells[0], Path(folder))
    >>> [picture.id for picture, rows, evidence in measure_pictures(grid, grid.cells[0], selection, selection.chosen)]
    ['00000', '00001']
    """
    method = grids.make_method(cell.method, cell.seed)
    measures = make_measures(grid.measures)
    budget = cell.method.given.get("budget")
    explained = _explain(selection, method, part, budget, grid.batch)
    for one, (why, memory) in zip(part, explained, strict=True):
        if one.id in skip:
            continue
        about = _describe_unit(cell, selection, one)
        if not isinstance(why, Explanation):
            yield one, [about | {"failure": why}], b""
            continue
        about |= {"probability": why.target.probability, "map_passes": why.passes, "map_seconds": why.seconds}
        about |= {"stability": why.stability, "notes": "; ".join(why.notes)}
        sample = selection.sample(one)
        try:
            case = assemble_case(
                ask_again(selection.box, why),
                why,
                sample,
                _find_target(one, why),
                method,
                budget=budget,
                batch=grid.batch,
                memory=memory,
            )
        except SalienceError as problem:  # where the object is cannot be read
            yield one, [about | {"failure": _describe_failure(problem)}], b""
            continue
        measured = [(each, _measure(case, each, grid.batch)) for each in measures if _is_defined(each, case)]
        rows = [about | _make_row(each, figure) for each, figure in measured] or [about]
        yield one, rows, _pack_evidence(why.saliency, [each for _, each in measured if not isinstance(each, str)])


def _explain(
    selection: Selection, method: Any, part: tuple[SelectedPicture, ...], budget: Any, batch: int
) -> list[tuple[Explanation | str, int | None]]:
    """Explain all together; if that fails, each for itself, so that one bad picture costs no other its map."""

    def ask(some: tuple[SelectedPicture, ...]) -> list[tuple[Explanation | str, int | None]]:
        sources = [selection.sample(one).picture for one in some]
        wanted = [one.target for one in some]
        with track_peak_memory(selection.box.device) as memory:
            explanations = explain_pictures(
                selection.box, sources, method, wanted, budget=budget, batch=batch, progress=None
            )
        return [(why, memory()) for why in explanations]

    try:
        return ask(part)
    except Exception as problem:  # noqa: BLE001  # a run goes on, and says what it could not do
        if len(part) == 1:
            return [(_describe_failure(problem), None)]
    return [each for one in part for each in _explain(selection, method, (one,), budget, batch)]


def _find_target(one: SelectedPicture, why: Explanation) -> Any:
    """Return the target of a case: of a place its number among those of the picture."""
    return why.target.index if isinstance(one.target, str) else one.target


def _is_defined(measure: Measure, case: Case) -> bool:
    """Leave out what a case cannot have, such as a place where the data tell none."""
    return find_missing(measure, case) is None


def _measure(case: Case, measure: Measure, batch: int) -> Measurement | str:
    try:
        return measure_case(case, measure, batch)
    except Exception as problem:  # noqa: BLE001  # as above
        return _describe_failure(problem)


def _make_row(measure: Measure, figure: Measurement | str) -> Row:
    about: Row = {"measure": specs.write_measure(measure), "better": measure.better}
    if isinstance(figure, str):
        return about | {"failure": figure}
    return about | {"value": figure.value, "passes": figure.passes, "seconds": figure.seconds}


def _describe_unit(cell: Cell, selection: Selection, one: SelectedPicture) -> Row:
    box = selection.box
    settings = {key: value for key, value in cell.method.given.items() if key != "boxes"}
    return {
        "method": cell.method.label,
        "settings": json.dumps({"name": cell.method.name} | settings, sort_keys=True),
        "box": cell.box.label,
        "fingerprint": box.fingerprint,
        "backend": box.backend,
        "data": cell.data.label,
        "picture": one.id,
        "seed": cell.seed,
        "target": one.target if isinstance(one.target, str) else targets.describe(one.target, box.classes),
        "right": one.right,
        "salience": __version__,
        "torch": torch.__version__,
    }


def _describe_failure(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    return text if isinstance(problem, SalienceError) else f"{type(problem).__name__}: {text}"


def _pack_evidence(saliency: Map, measurements: list[Measurement]) -> bytes:
    small = maps.resize(saliency.float(), tuple(min(SIDE, side) for side in saliency.shape))  # type: ignore[arg-type]  # two of them
    low, high = float(small.min()), float(small.max())
    steps = ((small - low) / (high - low or 1.0) * 255).round().nan_to_num(0).byte()
    arrays: dict[str, Any] = {"map": steps.numpy(), "range": np.array([low, high], np.float32)}
    for figure in measurements:
        for name, curve in figure.evidence.items():
            if isinstance(curve, dict) and {"x", "y"} <= set(curve):
                arrays[f"{name}|{figure.protocol}"] = np.array([curve["x"], curve["y"]], np.float32)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()
