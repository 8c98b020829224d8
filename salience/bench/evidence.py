"""What was kept beside the rows: read once, a picture at a time, and averaged."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from salience.bench import places
from salience.bench.panel import Panel

POINTS = 101  # of a mean curve
Small = UInt8[ndarray, "_ _"]
Curve = Float[ndarray, "2 _"]  # x and y
Maker = tuple[str, int]  # a method and a seed


@dataclass(frozen=True)
class StoredMap:
    """The evidence of one picture in one cell.

    >>> StoredMap(np.array([[0, 255]], np.uint8), (0.0, 2.0), {}).saliency
    array([[0., 2.]])
    """

    steps: Small  # the map in 256 steps
    span: tuple[float, float]  # the values of the first and the last step
    curves: Mapping[str, Curve]  # by measure: x and y

    @property
    def saliency(self) -> Float[ndarray, "y x"]:
        """Return the map's values."""
        low, high = self.span
        return low + self.steps.astype(np.float64) / 255 * (high - low)


@dataclass(frozen=True)
class Evidence:
    """A panel's evidence, averaged over its pictures.

    >>> Evidence({}, ("rise", "lime"), np.array([[1.0, 0.5], [0.5, 1.0]]), {}, pictures=8).agreement[0, 1]
    np.float64(0.5)
    """

    curves: Mapping[str, Mapping[str, Curve]]  # by measure and method
    methods: tuple[str, ...]  # those with maps
    agreement: Float[ndarray, "m m"]  # Spearman's ρ of the maps of two methods, each by its first seed
    seeds: Mapping[str, float]  # the same of the maps of two seeds, by method
    pictures: int


def read_map(run: Path, cell: str, picture: str) -> StoredMap | None:
    """Read a file of evidence; None where there is none that can be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "evidence", "rise").mkdir(parents=True)
    ...     np.savez(f"{folder}/evidence/rise/0001.npz", map=np.eye(2, dtype=np.uint8), range=[0.0, 1.0])
    ...     read_map(Path(folder), "rise", "0001").span
    (0.0, 1.0)
    """
    try:
        with places.find_picture(run / "evidence" / cell, picture, ".npz").open("rb") as file, np.load(file) as stored:
            arrays = dict(stored)
        low, high = arrays["range"].tolist()
        curves = {name.removeprefix("curve|"): each for name, each in arrays.items() if name.startswith("curve|")}
        return StoredMap(arrays["map"], (low, high), curves)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def list_cells(panel: Panel) -> dict[Maker, str]:
    """Name the cells of a panel, in the order of its methods.

    >>> rows = [{"method": "rise", "seed": seed, "cell": f"rise--toy--shapes--{seed}"} for seed in (1, 0)]
    >>> list_cells(Panel("shapes", "toy", ("deletion",), ("rise",), {}, rows))
    {('rise', 0): 'rise--toy--shapes--0', ('rise', 1): 'rise--toy--shapes--1'}
    """
    cells = {(row["method"], row["seed"]): row["cell"] for row in panel.rows}
    return {each: cells[each] for each in sorted(cells, key=lambda one: (panel.methods.index(one[0]), one[1]))}


def summarise_evidence(run: Path, panel: Panel) -> Evidence | None:
    """Read all; None where nothing is left.

    >>> import tempfile
    >>> row = {"method": "rise", "seed": 0, "cell": "rise", "picture": "0001"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "evidence", "rise").mkdir(parents=True)
    ...     np.savez(f"{folder}/evidence/rise/0001.npz", map=np.eye(2, dtype=np.uint8), range=[0.0, 1.0])
    ...     summarise_evidence(Path(folder), Panel("shapes", "toy", (), ("rise",), {}, [row])).pictures
    1
    """
    makers = list_cells(panel)
    names = list(makers)
    total, times, pictures = np.zeros((len(names),) * 2), np.zeros((len(names),) * 2), 0
    curves = defaultdict[str, defaultdict[str, _RunningMean]](lambda: defaultdict(_RunningMean))
    for picture in sorted({row["picture"] for row in panel.rows}):
        stored = {at: one for at, name in enumerate(names) if (one := read_map(run, makers[name], picture)) is not None}
        for at, one in stored.items():
            for measure, curve in one.curves.items():
                curves[measure][names[at][0]].add(_resample(curve))
        present = np.ix_(np.array(list(stored), int), np.array(list(stored), int))
        total[present] += correlate_ranks([each.steps for each in stored.values()])
        times[present] += 1
        pictures += bool(stored)
    if not pictures:
        return None
    mean = np.where(times > 0, total / np.maximum(times, 1), np.nan)
    first = {name: at for at, (name, _) in reversed(list(enumerate(names))) if times[at, at]}
    shown = np.array([first[each] for each in panel.methods if each in first])
    drawn = {key: {name: one.mean for name, one in by.items() if one.count} for key, by in sorted(curves.items())}
    methods = tuple(each for each in panel.methods if each in first)
    return Evidence(drawn, methods, mean[np.ix_(shown, shown)], _average_seeds(names, mean), pictures)


@dataclass
class _RunningMean:
    """A mean in the making."""

    total: Any = 0.0
    count: int = 0

    def add(self, curve: Curve) -> None:
        if np.isfinite(curve).all():
            self.total, self.count = self.total + curve, self.count + 1

    @property
    def mean(self) -> Curve:
        curve: Curve = self.total / self.count
        return curve


def correlate_ranks(maps: Sequence[Small]) -> Float[ndarray, "m m"]:
    """Correlate the ranks of every two maps, as `maps.agreement` does: 256 steps are ranked by counting them.

    >>> correlate_ranks([np.array([[0, 1]], np.uint8), np.array([[0, 200]], np.uint8)]).round()
    array([[1., 1.],
           [1., 1.]])
    """
    rows = np.zeros((len(maps), max((each.size for each in maps), default=1)), np.float32)
    for row, each in zip(rows, maps, strict=True):
        counts = np.bincount(each.ravel(), minlength=256)
        ranks = (counts.cumsum() - (counts + 1) / 2)[each.ravel()] - (each.size - 1) / 2
        row[: each.size] = ranks / (np.linalg.norm(ranks) or 1)
    return (rows @ rows.T).astype(np.float64)


def _average_seeds(names: Sequence[Maker], mean: Any) -> dict[str, float]:
    """Average the agreement of the seeds of each method that has several."""
    averages = {}
    for method in dict.fromkeys(name for name, _ in names):
        at = np.array([number for number, (name, _) in enumerate(names) if name == method])
        block = mean[np.ix_(at, at)][np.triu_indices(len(at), 1)]
        if np.isfinite(block).any():
            averages[method] = float(np.nanmean(block))
    return averages


def _resample(curve: Curve) -> Curve:
    """Read a curve at evenly spaced places."""
    x, y = curve[:, np.argsort(curve[0], kind="stable")].astype(np.float64)
    places = np.linspace(x[0], x[-1], POINTS)
    return np.stack([places, np.interp(places, x, y)])
