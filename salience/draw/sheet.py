"""A contact sheet: one row a picture, one column a method, to look at many maps at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from salience.draw import blend
from salience.draw.blend import Pixels, Scale, Style
from salience.draw.page import FAINT, FigurePage, Page, eight_bit
from salience.errors import SettingError
from salience.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP, HEAD, LINE = 10, 34, 20  # pixels: between thumbnails, above the columns, under a row


def sheet(
    rows: Sequence[Sequence[Explanation | None]],
    *,
    titles: Sequence[str] | None = None,
    size: int = 224,
    alpha: float = Style.alpha,
    colours: str | None = None,
    scale: Scale = "auto",
) -> Figure:
    """Lay out rows of explanations, each row of one picture, which comes first with its class and probability.

    `titles` head the columns of maps; none given: the methods' names. None in a row leaves its place empty. `size` is
    the longest side of a thumbnail in pixels. Each map is normalised for itself, so colours compare within a map only.

    >>> from salience import explain
    >>> why = explain("toy:colour", np.eye(32, dtype=np.uint8) * 255, "occlusion", window=16, stride=16)
    >>> sheet([[why, None]], titles=["occlusion", "later"], size=64).get_size_inches()
    array([2.32, 1.38])
    """
    heads = _heads(rows, titles)
    style = Style(alpha, colours, scale)
    step = size + GAP
    firsts = [next(each for each in row if each is not None) for row in rows]
    tops = [HEAD]
    for shown in firsts:
        tops.append(tops[-1] + _small(shown.geometry.photograph, size)[0] + LINE + GAP)
    width, height = GAP + (len(heads) + 1) * step, tops[-1] + GAP
    page = FigurePage(width, height)
    for column, head in enumerate(["picture", *heads]):
        page.say(head, GAP + column * step, HEAD - 10, size, 14, bold=True, va="bottom")
    for row, shown, top, below in zip(rows, firsts, tops, tops[1:], strict=False):
        small = _small(shown.geometry.photograph, size)
        _put(page, blend.read_photograph(shown, small), GAP, top, size)
        answer, line = shown.target, below - LINE - GAP + 4
        page.say(f"{answer.name.split(',')[0]} {answer.probability:.2f}", GAP, line, size, 12)
        for column, each in enumerate(row, start=1):
            if each is not None:
                _put(page, blend.overlay_map(each, style, small), GAP + column * step, top, size)
                problem = blend.is_blank(each)
                if problem is not None:
                    page.say(f"no map: {problem}", GAP + column * step, line, size, 11, color=FAINT)
    return page.figure


def _heads(rows: Sequence[Sequence[Explanation | None]], titles: Sequence[str] | None) -> list[str]:
    """Name the columns; refuse rows that do not fit together."""
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or 0 in lengths or any(all(each is None for each in row) for row in rows):
        raise SettingError(f"expected rows of one length with an explanation in each, got lengths {sorted(lengths)}")
    count = lengths.pop()
    if titles is not None:
        if len(titles) != count:
            raise SettingError(f"expected a title for each of {count} columns, got {len(titles)}")
        return list(titles)
    return [next((row[column].called for row in rows if row[column] is not None), "") for column in range(count)]  # type: ignore[union-attr]  # None is left out


def _small(photograph: tuple[int, int], size: int) -> tuple[int, int]:
    """Return height and width of a thumbnail."""
    factor = size / max(photograph)
    return max(1, round(photograph[0] * factor)), max(1, round(photograph[1] * factor))


def _put(page: Page, pixels: Pixels, left: float, top: float, size: int) -> None:
    """Show pixels as a thumbnail, in the middle of its column."""
    page.show(np.asarray(eight_bit(pixels)), left + (size - pixels.shape[1]) // 2, top)
