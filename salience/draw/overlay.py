"""One explanation as a picture: the photograph, the map over it, and the numbers that both need to be read.

`figure` uses matplotlib's objects, never pyplot: nothing global changes and no window opens. `picture` is the same page
in plain pixels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from PIL import Image as pil

from salience.draw import blend
from salience.draw.blend import Pixels, Scale, Style
from salience.draw.page import DPI, FAINT, FigurePage, Page, PicturePage, calm, eight_bit
from salience.errors import SettingError
from salience.explanation import Explanation
from salience.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST, LARGEST = 420, 1400  # longest side of a panel, in pixels, where the photograph's own would be illegible or huge

MASKED = {"kept": "with it alone", "left": "without it"}  # the score

P = TypeVar("P", bound=Page)


def image(
    explanation: Explanation, *, alpha: float = Style.alpha, colours: str | None = None, scale: Scale = "auto"
) -> pil.Image:
    """Return the overlay alone, pixel for pixel at the photograph's height and width; the plain photograph if blank.

    >>> from salience import explain
    >>> why = explain("toy:colour", np.eye(32, dtype=np.uint8) * 255, "occlusion", window=16, stride=16)
    >>> image(why).size
    (32, 32)
    """
    return eight_bit(blend.overlay_map(explanation, Style(alpha, colours, scale)))


def figure(
    explanation: Explanation,
    *,
    alpha: float = Style.alpha,
    colours: str | None = None,
    scale: Scale = "auto",
    size: int | None = None,
    side_by_side: bool = True,
) -> Figure:
    """Draw the overlay beside the photograph, with class, probability, cost and a colour bar of the raw values.

    Between the two stands the photograph as seen through the best mask, where the method looked for one.

    `alpha`, `colours` and `scale` are explained in `salience.draw.blend.Style`. `size` is the longest side of a panel in
    pixels; none given: the photograph's own, within 420…1400. A blank map is not drawn but said in words.

    >>> from salience import explain
    >>> why = explain("toy:colour", np.eye(32, dtype=np.uint8) * 255, "occlusion", window=16, stride=16)
    >>> type(figure(why, size=64)).__name__
    'Figure'
    """
    return _lay_out(FigurePage, explanation, Style(alpha, colours, scale), size, side_by_side=side_by_side).figure


def picture(
    explanation: Explanation,
    *,
    alpha: float = Style.alpha,
    colours: str | None = None,
    scale: Scale = "auto",
    size: int | None = None,
    side_by_side: bool = True,
) -> pil.Image:
    """Draw what `figure` draws, in plain pixels.

    >>> from salience import explain
    >>> why = explain("toy:colour", np.eye(32, dtype=np.uint8) * 255, "occlusion", window=16, stride=16)
    >>> alone, beside = picture(why, side_by_side=False), picture(why)
    >>> alone.height == beside.height, alone.width < beside.width
    (True, True)
    """
    return _lay_out(PicturePage, explanation, Style(alpha, colours, scale), size, side_by_side=side_by_side).image


def png(drawing: Figure | pil.Image) -> bytes:
    """Write a figure or a picture as PNG.

    >>> png(pil.new("RGB", (4, 4)))[1:4]
    b'PNG'
    """
    file = io.BytesIO()
    if isinstance(drawing, pil.Image):
        drawing.save(file, format="png")
        return file.getvalue()
    with calm():
        drawing.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def save(explanation: Explanation, path: str | Path, **style: Any) -> Path:
    """Draw into a PNG file, whole or not at all.

    >>> import tempfile
    >>> from salience import explain
    >>> why = explain("toy:colour", np.eye(32, dtype=np.uint8) * 255, "occlusion", window=16, stride=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(why, f"{folder}/why.png", size=64).name
    'why.png'
    """
    return write_whole(path, png(picture(explanation, **style)))


def _lay_out(kind: type[P], explanation: Explanation, style: Style, size: int | None, *, side_by_side: bool) -> P:
    if size is not None and size < 64:
        raise SettingError(f"expected a size of 64 pixels at least, got {size}")
    side_by_side = side_by_side and explanation.has_photograph
    layout = _Layout(kind, explanation, size, 1 + side_by_side * (1 + ("mask" in explanation.evidence)))
    panels = [blend.overlay_map(explanation, style, layout.shown)]
    if side_by_side:
        masked = blend.show_mask(explanation, layout.shown)
        panels = [blend.read_photograph(explanation, layout.shown), *([] if masked is None else [masked]), *panels]
    for number, pixels in enumerate(panels):
        layout.panel(number, pixels)
    layout.write_texts(explanation, style, side_by_side=side_by_side)
    return layout.page


class _Layout(Generic[P]):
    """What goes where on a page, in pixels from the top left: two lines of title, panels, captions, notes."""

    def __init__(self, kind: type[P], explanation: Explanation, size: int | None, count: int) -> None:
        height, width = explanation.geometry.photograph
        longest = size or min(max(height, width, SMALLEST), LARGEST)
        scale = longest / max(height, width)
        self.shown = max(1, round(height * scale)), max(1, round(width * scale))
        self.letter = min(max(longest / 38, 11.5), 26)  # text height in pixels
        self.cell = max(self.shown[1], round(20 * self.letter))  # a column holds a caption, also under a narrow panel
        self.gap = round(self.letter)
        self.count = count
        self.notes = [] if blend.is_blank(explanation) else [f"Note: {note}" for note in explanation.notes]
        if explanation.bands is not None:
            self.notes.append(f"Bands: {explanation.bands}")
        self.top = round(4.7 * self.letter)
        self.width = count * self.cell + (count + 1) * self.gap
        self.height = round(self.top + self.shown[0] + 4.4 * self.letter + 1.4 * self.letter * len(self.notes))
        self.page = kind(self.width, self.height)

    def find_left(self, number: int) -> float:
        """Return where the pixels of a panel begin."""
        return self.gap + number * (self.cell + self.gap) + (self.cell - self.shown[1]) / 2

    def panel(self, number: int, pixels: Pixels) -> None:
        """Show pixels."""
        self.page.show(np.asarray(eight_bit(pixels)), self.find_left(number), self.top)

    def say(self, text: str, left: float, top: float, room: float, size: float = 1.0, **style: Any) -> None:
        """Write one line; `size` counts in the page's letters."""
        self.page.say(text, left, top, room, size * self.letter, **style)

    def write_texts(self, explanation: Explanation, style: Style, *, side_by_side: bool) -> None:
        """Write title, captions, colour bar and notes."""
        answer, room = explanation.target, self.width - 2 * self.gap
        share = explanation.write_score(answer.probability) if answer.index is not None else f"{answer.probability:.3f}"
        names = answer.name.split(",")[0] if answer.index is not None else answer.name
        self.say(f"{names}  {share}", self.gap, self.gap, room, 1.45, bold=True)
        rate = f"{explanation.passes:,} pass{'es' * (explanation.passes != 1)}, {explanation.seconds:.1f} s"
        cost = f"{explanation.called} · {explanation.box['name']} · {rate}"
        self.say(cost, self.gap, self.gap + 1.9 * self.letter, room, color=FAINT)
        under = self.top + self.shown[0] + 0.7 * self.letter
        if side_by_side:
            height, width = explanation.geometry.photograph
            name = Path(explanation.image).name
            self.say(name, self.find_left(0), under, self.cell - self.gap)
            self.say(
                f"{width} × {height} pixels", self.find_left(0), under + 1.5 * self.letter, self.cell, 0.85, color=FAINT
            )
            if self.count == 3:
                self._describe_mask(explanation.evidence, under)
        self._bar(explanation, style, under)
        for number, note in enumerate(self.notes):
            self.say(note, self.gap, under + (3.7 + 1.4 * number) * self.letter, room, 0.9)

    def _describe_mask(self, evidence: Mapping[str, Any], top: float) -> None:
        """Say what the best mask does: the score of what it shows, and of what it hides, as far as they were scored."""
        said = [f"{evidence[name]:.3f} {words}" for name, words in MASKED.items() if name in evidence]
        self.say(f"best mask: mean opacity {evidence['area']:.0%}", self.find_left(1), top, self.cell - self.gap)
        self.say(", ".join(said), self.find_left(1), top + 1.5 * self.letter, self.cell - self.gap, 0.85, color=FAINT)

    def _bar(self, explanation: Explanation, style: Style, top: float) -> None:
        left = self.gap + (self.count - 1) * (self.cell + self.gap)
        problem = blend.is_blank(explanation)
        if problem is not None:
            self._blank(problem, top)
            return
        values = explanation.saliency.double().numpy()
        style = style.of(values)
        low, high = style.span(values)
        colour, weight = style.tint(np.linspace(0, 1, 256)[None])
        strip = (1 - weight) * 0.82 + weight * colour  # as it looks over light grey, so that the bar shows what is seen
        self.page.show(strip, left, top, self.cell, 0.9 * self.letter)
        below, cut = top + 1.3 * self.letter, style.scale == "p99"
        self.say(("≤ " if cut else "") + f"{low:.3g}", left, below, self.cell, 0.85)
        self.say(("≥ " if cut else "") + f"{high:.3g}", left + self.cell, below, self.cell, 0.85, ha="right")
        label = f"saliency ({explanation.called}), raw values"
        self.say(label, left + self.cell / 2, below, 0.6 * self.cell, 0.85, ha="center", color=FAINT)

    def _blank(self, problem: str, top: float) -> None:
        number = self.count - 1
        middle = self.find_left(number) + self.shown[1] / 2
        self.say(
            "No map to show", middle, self.top + self.shown[0] / 2, 0.9 * self.shown[1], 1.3,
            ha="center", va="center", bold=True, framed=True,
        )  # fmt: skip
        left = self.gap + number * (self.cell + self.gap)
        first, _, rest = problem.partition(": ")
        self.say(first[:1].upper() + first[1:] + ("," if rest else ""), left, top, self.cell, 0.9)
        self.say(rest, left, top + 1.4 * self.letter, self.cell, 0.9)
