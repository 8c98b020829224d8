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

from salience import __version__, explaining, measuring, registry, samples, several
from salience.bench import grid as grids
from salience.bench import scene as scenes
from salience.bench.book import Book, Row
from salience.bench.grid import Cell, Grid, slug
from salience.bench.scene import Chosen, Scene
from salience.bench.weigh import weighing
from salience.case import Case, Measure, Spent
from salience.engine import maps, memory
from salience.engine import target as targets
from salience.errors import SalienceError
from salience.explanation import Explanation, write
from salience.picture import read
from salience.types import Map

SIDE = 112  # pixels: maps are kept as evidence at this size, in 256 steps


@dataclass(frozen=True)
class Unit:
    """Pictures `begin` up to the next unit's of one cell; always explained together, so a map has the same neighbours."""

    cell: Cell
    begin: int

    def of(self, scene: Scene, size: int) -> tuple[Chosen, ...]:
        """Return the pictures."""
        return scene.chosen[self.begin : self.begin + size]


def run(grid: Grid, unit: Unit, out: Path) -> int:
    """Do what is left of a unit; return for how many pictures rows were added."""
    cell = unit.cell
    book = Book(out / "cells" / f"{cell.name}.jsonl", grid.digest(cell))
    scene = scenes.of(grid, cell, out)
    part = unit.of(scene, grid.batch)
    done = book.pictures
    if all(one.id in done for one in part):
        return 0
    added = 0
    for one, rows, evidence in measured(grid, cell, scene, part, skip=done):
        if evidence:
            file = out / "evidence" / cell.name / f"{slug(one.id)}.npz"
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, evidence)
        added += book.add(one.id, rows)
    memory.release()
    return added


def measured(
    grid: Grid, cell: Cell, scene: Scene, part: tuple[Chosen, ...], skip: frozenset[str] = frozenset()
) -> Iterator[tuple[Chosen, list[Row], bytes]]:
    """Explain and measure; yield each picture's rows and its evidence."""
    method = grids.method(cell.method, cell.seed)
    made = measuring.measures(grid.measures)
    budget = cell.method.given.get("budget")
    explained = _explained(scene, method, part, budget, grid.batch)
    for one, (why, weight) in zip(part, explained, strict=True):
        if one.id in skip:
            continue
        about = _about(cell, scene, one)
        if not isinstance(why, Explanation):
            yield one, [about | {"failure": why}], b""
            continue
        about |= {"probability": why.target.probability, "map_passes": why.passes, "map_seconds": why.seconds}
        about |= {"stability": why.stability, "notes": "; ".join(why.notes)}
        case = _case(scene, one, why, method, budget, Spent(why.passes, why.seconds, weight), grid.batch)
        found = [(each, _figure(case, each, grid.batch)) for each in made if _apt(each, case)]
        rows = [about | _row(each, figure) for each, figure in found] or [about]
        yield one, rows, _evidence(why.saliency, [each for _, each in found if not isinstance(each, str)])


def _explained(
    scene: Scene, method: Any, part: tuple[Chosen, ...], budget: Any, batch: int
) -> list[tuple[Explanation | str, int | None]]:
    """Explain all together; if that fails, each for itself, so that one bad picture costs no other its map."""

    def ask(some: tuple[Chosen, ...]) -> list[tuple[Explanation | str, int | None]]:
        sources = [scene.sample(one).picture for one in some]
        wanted = [one.target for one in some]
        with weighing(scene.box.device) as weight:
            found = several.pictures(scene.box, sources, method, wanted, budget=budget, batch=batch, progress=None)
        return [(why, weight()) for why in found]

    try:
        return ask(part)
    except Exception as problem:  # noqa: BLE001  # a run goes on, and says what it could not do
        if len(part) == 1:
            return [(_said(problem), None)]
    return [each for one in part for each in _explained(scene, method, (one,), budget, batch)]


def _case(scene: Scene, one: Chosen, why: Explanation, method: Any, budget: Any, spent: Spent, batch: int) -> Case:
    sample = scene.sample(one)
    image, geometry = explaining.fitted(scene.box, read(sample.picture))
    device = scene.box.device
    truth = samples.truth(sample, geometry)
    explain = measuring.again(method, budget, batch)
    placed = None if truth is None else truth.to(device)
    return Case(scene.box, image.to(device), one.target, why.saliency.to(device), placed, explain, spent)


def _apt(measure: Measure, case: Case) -> bool:
    """Leave out what a case cannot have, such as a place where the data tell none."""
    return measuring.lacking(measure, case) is None


def _figure(case: Case, measure: Measure, batch: int) -> measuring.Figure | str:
    try:
        return measuring.measured(case, measure, batch)
    except Exception as problem:  # noqa: BLE001  # as above
        return _said(problem)


def _row(measure: Measure, figure: measuring.Figure | str) -> Row:
    about: Row = {"measure": registry.stamp(measure), "better": measure.better}
    if isinstance(figure, str):
        return about | {"failure": figure}
    return about | {"value": figure.value, "passes": figure.passes, "seconds": figure.seconds}


def _about(cell: Cell, scene: Scene, one: Chosen) -> Row:
    box = scene.box
    settings = {key: value for key, value in cell.method.given.items() if key != "boxes"}
    return {
        "cell": cell.name,
        "method": cell.method.label,
        "settings": json.dumps({"name": cell.method.name} | settings, sort_keys=True),
        "box": cell.box.label,
        "fingerprint": box.fingerprint,
        "lane": box.lane,
        "data": cell.data.label,
        "picture": one.id,
        "seed": cell.seed,
        "target": targets.name(one.target, box.classes),
        "right": one.right,
        "salience": __version__,
        "torch": torch.__version__,
    }


def _said(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    return text if isinstance(problem, SalienceError) else f"{type(problem).__name__}: {text}"


def _evidence(saliency: Map, figures: list[measuring.Figure]) -> bytes:
    small = maps.resize(saliency.float(), tuple(min(SIDE, side) for side in saliency.shape))  # type: ignore[arg-type]  # two of them
    low, high = float(small.min()), float(small.max())
    steps = ((small - low) / (high - low or 1.0) * 255).round().nan_to_num(0).byte()
    arrays: dict[str, Any] = {"map": steps.numpy(), "range": np.array([low, high], np.float32)}
    for figure in figures:
        for name, curve in figure.evidence.items():
            if isinstance(curve, dict) and {"x", "y"} <= set(curve):
                arrays[f"{name}|{figure.protocol}"] = np.array([curve["x"], curve["y"]], np.float32)
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    return made.getvalue()
