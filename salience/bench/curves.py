"""Mean curves as drawings: where each line goes, in the pixels of an SVG of one size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from salience.bench.evidence import Curve

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 42  # margins
AXES = {
    "deletion": ("share of pixels removed", "score"),
    "insertion": ("share of pixels shown", "score"),
    "road": ("share of pixels removed", "score"),
    "aopc": ("share of pixels removed", "score"),
    "randomisation": ("share of layers randomised", "agreement of the maps"),
}


@dataclass(frozen=True)
class Tick:
    """A place on an axis.

    >>> Tick(at=46.0, text="0").text
    '0'
    """

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """The curves of one measure.

    >>> Chart("deletion", {"rise": "46.0,10.0 450.0,258.0"}, (), (), AXES["deletion"]).axes
    ('share of pixels removed', 'score')
    """

    measure: str
    lines: Mapping[str, str]  # by method: the points of a polyline
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    axes: tuple[str, str]  # what they are called


def make_chart(measure: str, curves: Mapping[str, Curve]) -> Chart:
    """Draw the mean curves of a measure, one a method.

    >>> make_chart("deletion", {"rise": np.array([[0.0, 1.0], [1.0, 0.0]])}).lines
    {'rise': '46.0,10.0 450.0,258.0'}
    """
    x, y = np.concatenate(list(curves.values()), axis=1)
    width, high = (float(x.min()), float(x.max())), (min(0.0, float(y.min())), float(y.max()))
    lines = {
        name: " ".join(f"{_x(a, width):.1f},{_y(b, high):.1f}" for a, b in zip(*curve.tolist(), strict=True))
        for name, curve in curves.items()
    }
    across = tuple(Tick(_x(each, width), f"{each:g}") for each in choose_ticks(*width))
    up = tuple(Tick(_y(each, high), f"{each:g}") for each in choose_ticks(*high))
    return Chart(measure, lines, across, up, AXES.get(measure.partition("/")[0], ("", "")))


def choose_ticks(low: float, high: float) -> list[float]:
    """Choose four to nine round numbers from low to high.

    >>> choose_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(power * factor for factor in (5, 2, 1) if (high - low) / (power * factor) >= 4)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _x(value: float, ends: tuple[float, float]) -> float:
    return LEFT + _share(value, ends) * (WIDTH - LEFT - RIGHT)


def _y(value: float, ends: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - _share(value, ends) * (HEIGHT - BOTTOM - TOP)


def _share(value: float, ends: tuple[float, float]) -> float:
    return (value - ends[0]) / ((ends[1] - ends[0]) or 1.0)
