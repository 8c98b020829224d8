"""`salience explain`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any

from salience import registry
from salience.cli.options import Options, make_flags
from salience.describe.catalogue import list_settings
from salience.tasks.choose_method import DEFAULT


def make_command(method: str | None) -> Callable[..., int]:
    """Make the command for one method: its fields are options."""
    name, changed = (method, {}) if method else (DEFAULT["method"], DEFAULT)
    spoken, settings = list_settings(name)
    own = [each for each in settings if each.name not in Options.__dataclass_fields__]
    own = [replace(each, default=changed.get(each.name, each.default)) for each in own]
    options = make_flags(list(registry.list_settings(Options)), "Options")
    options += make_flags(own, f"Settings of {spoken}")

    def explain(*image: str, **given: Any) -> int:
        """Explain pictures: draw what the classifier saw in them.

        Give files or folders; without any, a sample photograph is explained.
        For each picture the map is drawn beside the photograph into OUT/NAME.METHOD.png, with a record (.salience)
        and the numbers (.json).

        Parameters
        ----------
        image
            picture files, or folders of them
        """
        from salience.cli.explain_pictures import explain_pictures

        common = {key: given.pop(key) for key in list(given) if key in Options.__dataclass_fields__}
        return explain_pictures(list(image), Options(**common), given)

    pictures = Argument("image", Argument.VAR_POSITIONAL, annotation=str)
    explain.__signature__ = Signature([pictures, *options])  # type: ignore[attr-defined]  # what the parser reads
    explain.__annotations__ = {each.name: each.annotation for each in (pictures, *options)} | {"return": int}
    return explain
