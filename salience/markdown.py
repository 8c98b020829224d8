"""Text in a page of Markdown: a name is shown, and is no element, link, column or code."""

from __future__ import annotations

import html
import re


def escape(text: str) -> str:
    r"""Write a text as one line that stands for itself.

    >>> print(escape("<b>[x](y)|"))
    &lt;b&gt;\[x\](y)\|
    """
    return re.sub(r"([|`\\\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def write_code(text: str) -> str:
    """Write a text as code in a line, which ends at no mark within it.

    >>> write_code("toy:a`b")
    "`toy:a'b`"
    """
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
