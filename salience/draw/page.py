"""A page on which pixels and words are placed by counting pixels from the top left."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as pil

from salience.draw.blend import Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
INK, FAINT = "#1a1a1a", "#666666"


def page(width: int, height: int) -> tuple[Figure, Axes]:
    """Make a figure of so many pixels, with axes that count pixels from the top left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(made)
    axes = made.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    return made, axes


def show(axes: Axes, pixels: Any, left: float, top: float, width: float | None = None, height: float | None = None) -> None:
    """Put pixels onto a page, one to one unless a width and height are given."""
    right, bottom = left + (width or pixels.shape[1]), top + (height or pixels.shape[0])
    axes.imshow(pixels, extent=(left, right, bottom, top), aspect="auto", interpolation="nearest")


def say(axes: Axes, text: str, left: float, top: float, room: float, letter: float, **style: Any) -> None:
    """Write one line of `letter` pixels' height, shortened in the middle until it fits into `room` pixels."""
    style = {"color": INK, "va": "top", "ha": "left"} | style
    line = axes.text(left, top, text, fontsize=letter * 72 / DPI, parse_math=False, **style)  # a $ in a name is a $
    with calm():
        _shorten(line.set_text, lambda: bool(line.get_window_extent().width <= room), " ".join(text.split()))


def _shorten(put: Callable[[str], None], fits: Callable[[], bool], text: str) -> None:
    """Put as much of the text as fits, both ends kept: names differ at their ends."""
    put(text)
    if fits():
        return
    low, high = 0, len(text)
    while low < high:  # the largest number of letters that fits
        middle = (low + high + 1) // 2
        put(_without_middle(text, middle))
        low, high = (middle, high) if fits() else (low, middle - 1)
    put(_without_middle(text, low))


def _without_middle(text: str, letters: int) -> str:
    tail = min(letters // 3, letters)
    return text[: letters - tail] + "…" + (text[-tail:] if tail else "")


def eight_bit(pixels: Pixels) -> pil.Image:
    """Turn 0…1 into 0…255."""
    return pil.fromarray((pixels * 255).round().astype(np.uint8))


@contextmanager
def calm() -> Iterator[None]:
    """Keep quiet about a letter that the font lacks and draws as a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield
