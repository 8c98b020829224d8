"""All kinds."""

from __future__ import annotations

from tests.hostile.fuzz import calls, data, files, lines, pictures
from tests.hostile.fuzz.judge import Kind

KINDS: tuple[Kind, ...] = (
    pictures.KIND,
    calls.OPTIONS_KIND,
    calls.BOXES_KIND,
    files.RECORDS_KIND,
    files.EXPLAINERS_KIND,
    files.TRAINED_KIND,
    lines.KIND,
    calls.SETTINGS_KIND,
    calls.MEASURES_KIND,
    data.DATA_KIND,
    data.GRIDS_KIND,
    data.JOURNALS_KIND,
)


def find(name: str) -> Kind:
    """Return a kind by its name."""
    return next(each for each in KINDS if each.name == name)
