"""Docstrings as manuals."""

from __future__ import annotations

import inspect
from typing import Any


def read_manual(thing: Any) -> str:
    """Return the docstring without its examples: they are Python's, and a command line or a page has its own.

    >>> read_manual(read_manual).split(":")[0]
    'Return the docstring without its examples'
    """
    return (inspect.getdoc(thing) or "").partition("\n\n>>> ")[0].rstrip()
