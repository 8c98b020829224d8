"""Say in one sentence which extra a command lacks."""

from __future__ import annotations

from importlib.util import find_spec

from salience.errors import SettingError


def expect_extra(extra: str, *modules: str) -> None:
    """Refuse to begin without the packages of an extra."""
    missing = [each for each in modules if find_spec(each) is None]
    if missing:
        said = f"expected the packages of this command, got no {', '.join(missing)}"
        raise SettingError(f"{said}: pip install 'salience[{extra}]'")
