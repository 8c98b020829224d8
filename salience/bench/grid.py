"""A grid file: which methods, boxes, data, measures and seeds; and the cells that it makes."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from salience import limits, registry, specs
from salience.bench import schema
from salience.bench.controls import CONTROLS
from salience.bench.places import name_cell
from salience.engine.query.budget import Budget
from salience.errors import GridError, UnknownName
from salience.tasks.choose_method import choose_method, has_seed
from salience.tasks.measure import make_measures

MEASURES = ("deletion", "insertion", "average-drop", "pointing-game", "energy", "sparsity")
AXES = {"methods": "name", "boxes": "spec", "data": "spec"}  # and the key that a plain text stands for


@dataclass(frozen=True)
class Entry:
    """One name on an axis: what it stands for, and its settings.

    >>> Entry("rise", "rise", {"masks": 4000}).name
    'rise'
    """

    label: str
    name: str  # a method's name, a box's or a data set's spec
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A method on a box over a data set under a seed.

    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}})
    >>> grid.cells[0].name
    'rise--toy--shapes--0'
    """

    method: Entry
    box: Entry
    data: Entry
    seed: int

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """What it is called on each axis."""
        return self.method.label, self.box.label, self.data.label, str(self.seed)

    @property
    def name(self) -> str:
        """What its files are called."""
        return name_cell(*self.labels)


@dataclass(frozen=True)
class Grid:
    """Everything that decides on the rows.

    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}})
    >>> len(grid.cells), grid.batch
    (4, 8)
    """

    methods: tuple[Entry, ...]
    boxes: tuple[Entry, ...]
    data: tuple[Entry, ...]
    measures: tuple[str, ...] = MEASURES
    seeds: tuple[int, ...] = (0,)
    target: Any = "predicted"  # what is explained, as `salience explain --target` takes it, or "label"
    right: bool = False  # only pictures that the box gets right
    batch: int = 8  # images of one forward pass; fixed, so that rows do not depend on how quick the machine is
    controls: bool = True  # random order, the centre and edges beside the methods

    @property
    def cells(self) -> tuple[Cell, ...]:
        """List them; a method without chance has one seed, and `boxes` of a method or data set are kept to."""
        cells = []
        for data, box, method in itertools.product(self.data, self.boxes, self.methods):
            admitted = [each.given.get("boxes") for each in (data, method)]
            if any(only is not None and box.label not in only for only in admitted):
                continue
            cells += [
                Cell(method, box, data, seed) for seed in (self.seeds if has_seed(_find_class(method)) else self.seeds[:1])
            ]
        return tuple(cells)

    def digest(self, cell: Cell) -> str:
        """Name all that the rows of a cell depend on: rows under another digest are not its own."""
        about = [asdict(cell), self.measures, self.target, self.right, self.batch]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_grid(path: Path, *, trust: bool = False) -> Grid:
    """Read a grid file and check every name in it, before any pass; GridError says what is wrong.

    With `trust` it may name boxes that run code, as py: does.

    >>> read_grid(Path("nowhere.toml"))
    Traceback (most recent call last):
        ...
    salience.errors.GridError: expected a grid file at nowhere.toml, got No such file or directory: check the path
    """
    try:
        text = limits.read_text(path)
    except OSError as problem:
        raise GridError(f"expected a grid file at {path}, got {problem.strerror}: check the path") from None
    except UnicodeDecodeError as problem:
        raise GridError(f"expected TOML in {path}, got what is no UTF-8 at byte {problem.start}: save it as UTF-8") from None
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise GridError(f"expected TOML in {path}, got {problem}") from None
    grid = parse_grid(raw)
    if not trust:
        specs.expect_harmless(asdict(grid), str(path), "run it with trust (--trust)")
    return grid


def parse_grid(raw: Mapping[str, Any]) -> Grid:
    """Make a grid of what a file says.

    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}})
    >>> [entry.label for entry in grid.methods]
    ['rise', 'random-order', 'centre-gaussian', 'edge-detector']
    """
    known = [each.name for each in fields(Grid)]
    for key in raw:
        if key not in known:
            raise UnknownName.of("key of a grid", str(key), known)
    axes: dict[str, Any] = {axis: _read_entries(axis, raw.get(axis, {}), key) for axis, key in AXES.items()}
    rest = schema.read_settings({key: value for key, value in raw.items() if key not in AXES})
    if rest.get("controls", True):
        axes["methods"] += tuple(Entry(name, name, {}) for name in CONTROLS if name not in raw.get("methods", {}))
    if "measures" in rest:
        rest["measures"] = tuple(specs.write_measure(each) for each in make_measures(rest["measures"]))
    grid = Grid(**(axes | rest))
    _check(grid)
    return grid


def make_method(entry: Entry, seed: int) -> Any:
    """Make the method of an entry.

    >>> make_method(Entry("few", "rise", {"masks": 100, "budget": "10s"}), seed=3).seed
    3
    """
    settings = {key: value for key, value in entry.given.items() if key not in ("budget", "boxes")}
    if entry.name in CONTROLS:
        return choose_method(CONTROLS[entry.name](**settings), seed if has_seed(CONTROLS[entry.name]) else None, {})
    return choose_method(entry.name, seed, settings)


def _find_class(entry: Entry) -> type[Any]:
    return CONTROLS[entry.name] if entry.name in CONTROLS else registry.find_method(entry.name)


def _read_entries(axis: str, raw: Any, key: str) -> tuple[Entry, ...]:
    """Read an axis: `label = "spec"`, or `label = { name/spec = …, setting = value }`; a method's label is its name."""
    if not isinstance(raw, Mapping) or not raw:
        raise GridError(f"expected a table [{axis}] with at least one entry, got {raw or 'none'}: see docs/bench.md")
    entries = []
    for label, value in raw.items():
        given = schema.read_entry(axis, label, dict(value) if isinstance(value, Mapping) else {key: value})
        name = given.pop(key, label if axis == "methods" else None)
        if not isinstance(name, str):
            raise GridError(f'expected {axis}.{label} to say its {key}, got {value!r}: write {label} = "…"')
        expanded = os.path.expandvars(name)
        if "$" in expanded:
            raise GridError(
                f"expected the variables in {axis}.{label} = {name!r} to be set, got some that are not: set them"
            )
        entries.append(Entry(label, expanded, given))
    return tuple(entries)


def _check(grid: Grid) -> None:
    cells = len(grid.methods) * len(grid.boxes) * len(grid.data) * len(grid.seeds)
    if cells > limits.CELLS:
        raise GridError(f"expected at most {limits.CELLS:,} cells, got {cells:,}: make several grids")
    for entry in grid.methods:
        make_method(entry, grid.seeds[0])
        Budget.of(entry.given.get("budget"))
    labels = {each.label for each in grid.boxes}
    for entry in (*grid.methods, *grid.data):
        for label in entry.given.get("boxes", ()):
            if label not in labels:
                raise UnknownName.of("box of the grid", label, labels)
    make_measures(grid.measures)
    names = [each.name for each in grid.cells]
    if not names:
        raise GridError("expected at least one cell, got none: `boxes` of methods and data leave nothing over")
    for name, others in itertools.groupby(sorted(names, key=str.casefold), str.casefold):
        if len(list(others)) > 1:
            raise GridError(
                f"expected labels that differ in more than the case of letters, got two cells {name}: rename one"
            )


def select_cells(grid: Grid, only: Sequence[str]) -> tuple[Cell, ...]:
    """Keep the cells whose names hold one of the texts; none given: all.

    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": {"shapes": "shapes:plain"}})
    >>> [cell.name for cell in select_cells(grid, ["rise"])]
    ['rise--toy--shapes--0']
    """
    selected = tuple(cell for cell in grid.cells if not only or any(each in cell.name for each in only))
    if not selected:
        raise UnknownName.of("cell", ", ".join(only), [each.name for each in grid.cells])
    return selected
