"""All kinds."""

from __future__ import annotations

from tests.hostile.fuzz import calls, pictures
from tests.hostile.fuzz.judge import Kind

KINDS: tuple[Kind, ...] = (pictures.KIND, calls.OPTIONS_KIND, calls.BOXES_KIND)


def find(name: str) -> Kind:
    """Return a kind by its name."""
    return next(each for each in KINDS if each.name == name)
