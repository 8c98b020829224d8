"""A page on which pixels and words are placed by counting pixels from the top left.

`FigurePage` is a figure of matplotlib. `PicturePage` is plain pixels, drawn by Pillow in the same font: a picture file
needs no more, and importing what makes a figure takes a third of the time that importing torch takes.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image as pil
from PIL import ImageDraw, ImageFont

from salience.draw.blend import Pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
INK, FAINT = "#1a1a1a", "#666666"
HORIZONTAL = {"left": 0.0, "center": 0.5, "right": 1.0}


class Page(ABC):
    """A white page of so many pixels."""

    @abstractmethod
    def __init__(self, width: int, height: int) -> None: ...

    @abstractmethod
    def show(self, pixels: Any, left: float, top: float, width: float | None = None, height: float | None = None) -> None:
        """Put pixels onto the page, one to one unless a width and height are given."""

    @abstractmethod
    def say(
        self,
        text: str,
        left: float,
        top: float,
        room: float,
        letter: float,
        *,
        color: str = INK,
        ha: Literal["left", "center", "right"] = "left",
        va: Literal["top", "center", "bottom"] = "top",
        bold: bool = False,
        framed: bool = False,
    ) -> None:
        """Write one line of `letter` pixels' height, shortened in the middle until it fits into `room` pixels."""


class FigurePage(Page):
    """A figure of matplotlib, with axes that count pixels from the top left.

    >>> page = FigurePage(200, 100)
    >>> page.say("a title", left=10, top=10, room=180, letter=12)
    >>> page.figure.get_size_inches() * DPI
    array([200., 100.])
    """

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        self.axes.set_axis_off()

    def show(self, pixels: Any, left: float, top: float, width: float | None = None, height: float | None = None) -> None:
        """Put pixels onto the page."""
        right, bottom = left + (width or pixels.shape[1]), top + (height or pixels.shape[0])
        self.axes.imshow(pixels, extent=(left, right, bottom, top), aspect="auto", interpolation="nearest")

    def say(
        self,
        text: str,
        left: float,
        top: float,
        room: float,
        letter: float,
        *,
        bold: bool = False,
        framed: bool = False,
        **style: Any,
    ) -> None:
        """Write one line."""
        style = {"color": INK, "va": "top", "ha": "left", "weight": "bold" if bold else "normal"} | style
        if framed:
            style["bbox"] = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "boxstyle": "round,pad=0.6"}
        line = self.axes.text(left, top, "", fontsize=letter * 72 / DPI, parse_math=False, **style)  # a $ in a name is a $

        def fits(words: str) -> bool:
            line.set_text(words)
            return bool(line.get_window_extent().width <= room)

        with calm():
            line.set_text(shorten(text, fits))


class PicturePage(Page):
    """Plain pixels.

    >>> page = PicturePage(200, 100)
    >>> page.say("a title", left=10, top=10, room=180, letter=12)
    >>> page.image.size
    (200, 100)
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = pil.new("RGB", (width, height), "white")

    def show(self, pixels: Any, left: float, top: float, width: float | None = None, height: float | None = None) -> None:
        """Put pixels onto the page."""
        shown = pil.fromarray(pixels) if pixels.dtype == np.uint8 else eight_bit(pixels)
        if width and height:
            shown = shown.resize((round(width), round(height)), pil.Resampling.NEAREST)
        self.image.paste(shown, (round(left), round(top)))

    def say(
        self,
        text: str,
        left: float,
        top: float,
        room: float,
        letter: float,
        *,
        color: str = INK,
        ha: Literal["left", "center", "right"] = "left",
        va: Literal["top", "center", "bottom"] = "top",
        bold: bool = False,
        framed: bool = False,
    ) -> None:
        """Write one line."""
        font = open_font(letter, bold=bold)
        line = shorten(text, lambda words: font.getlength(words) <= room)
        width, (_, above, _, below) = font.getlength(line), font.getbbox("lp", anchor="ls")
        start = left - HORIZONTAL[ha] * width
        base = top - {"top": above, "center": (above + below) / 2, "bottom": below}[va]
        draw = ImageDraw.Draw(self.image, "RGBA")
        if framed:
            pad = 0.6 * letter
            frame = (start - pad, base + above - pad, start + width + pad, base + below + pad)
            draw.rounded_rectangle(frame, pad, (255, 255, 255, round(0.85 * 255)))
        draw.text((start, round(base)), line, color, font, anchor="ls")


@cache
def open_font(letter: float, *, bold: bool) -> Any:
    """Open matplotlib's own font, without importing matplotlib.

    >>> open_font(12, bold=False).getlength("wide") > open_font(12, bold=False).getlength("i")
    True
    """
    package = find_spec("matplotlib")
    folder = Path(package.origin if package and package.origin else "").parent / "mpl-data" / "fonts" / "ttf"
    try:
        return ImageFont.truetype(folder / f"DejaVuSans{'-Bold' * bold}.ttf", letter, layout_engine=ImageFont.Layout.BASIC)
    except OSError:  # some distributions move the fonts elsewhere
        return ImageFont.load_default(letter)


def shorten(text: str, fits: Callable[[str], bool]) -> str:
    """Return as much of a text as fits into a line, both ends kept: names differ at their ends.

    >>> shorten("a rather long name", lambda text: len(text) <= 9)
    'a rath…me'
    """
    text = " ".join(text.split())
    if fits(text):
        return text
    low, high = 0, len(text)
    while low < high:  # the largest number of letters that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(_without_middle(text, middle)) else (low, middle - 1)
    return _without_middle(text, low)


def _without_middle(text: str, letters: int) -> str:
    tail = min(letters // 3, letters)
    return text[: letters - tail] + "…" + (text[-tail:] if tail else "")


def eight_bit(pixels: Pixels) -> pil.Image:
    """Turn 0…1 into 0…255.

    >>> eight_bit(np.ones((2, 2, 3), np.float32)).getpixel((0, 0))
    (255, 255, 255)
    """
    return pil.fromarray((pixels * 255).round().astype(np.uint8))


@contextmanager
def calm() -> Iterator[None]:
    """Keep quiet about a letter that the font lacks and draws as a box.

    >>> with calm():
    ...     warnings.warn("Glyph 9731 missing from font", stacklevel=1)
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield
