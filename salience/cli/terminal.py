"""What is printed, in one place: names of files, classes and boxes are shown, and command no terminal."""

from __future__ import annotations

import re
import sys

# control characters but for line ends and tabs, marks that turn the direction of writing, halves of characters
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    r"""Write out what a terminal would obey rather than show.

    >>> print(clean("red\x1b[2J.png"))
    red\u001b[2J.png
    """
    return HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def clean_line(text: str) -> str:
    r"""Write out line ends too: a name is one line.

    >>> print(clean_line("red\nbox  another.png"))
    red\u000abox  another.png
    """
    return clean(text).replace("\n", "\\u000a")


def say(text: str) -> None:
    r"""Write to standard output: data.

    >>> say("red\n")
    red
    """
    sys.stdout.write(clean(text))


def tell(text: str) -> None:
    r"""Write to standard error: words.

    >>> tell("done\n")
    """
    sys.stderr.write(clean(text))
