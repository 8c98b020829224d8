"""A console of rich that takes no text for a command: neither `[bold]` in a name, nor an escape sequence."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich import console as rich
from rich.segment import Segment

from salience.cli.terminal import clean


class Console(rich.Console):
    r"""Print what is given, letter by letter; styles are said by objects.

    >>> Console().print("[/oops] \x1b[2J")
    [/oops] \u001b[2J
    """

    def __init__(self, *, err: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=err, file=None if err else sys.stdout, markup=False, emoji=False, width=width)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Clean every text on its way out."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(clean(segment.text), segment.style)
