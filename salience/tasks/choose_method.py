"""The method that was asked for, or the default one, with its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from salience import registry
from salience.engine.inside.loop import name_layer
from salience.types import BlackBox, GreyBox

# Within ten seconds it and centred RISE are the most faithful, and it localises better (docs/results/iassa.md).
DEFAULT: dict[str, Any] = {"method": "iassa", "variant": "plus"}


def choose_method(method: Any, seed: int | None, settings: dict[str, Any]) -> Any:
    """Make the method of a name, or the default one, or change a method object's settings.

    >>> choose_method("rise", 3, {"masks": 100}).seed
    3
    """
    if method is not None and not isinstance(method, str):
        changes = settings if seed is None else settings | {"seed": seed}
        return replace(method, **changes) if changes else method
    if method is None:
        settings = DEFAULT | settings
        method = settings.pop("method")
    if seed is not None and has_seed(registry.find_method(method)):
        settings = settings | {"seed": seed}
    return registry.make_method(method, **settings)


def name_layers(settings: dict[str, Any], box: BlackBox) -> dict[str, Any]:
    """Put names where settings hold modules of the box's network: methods and records know layers by name.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour")
    >>> name_layers({"layer": box.module.act}, box)
    {'layer': 'act'}
    """
    if not isinstance(box, GreyBox):
        return settings
    lists = {key: [value] if isinstance(value, nn.Module) else value for key, value in settings.items()}
    given = {key: value for key, value in lists.items() if _holds_modules(value)}
    return settings | {key: ", ".join(name_layer(box, each) for each in value) for key, value in given.items()}


def _holds_modules(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(each, nn.Module) for each in value)


def has_seed(method: type[Any]) -> bool:
    """Say whether a class of methods draws by seed.

    >>> from salience.methods.rise import Rise
    >>> has_seed(Rise)
    True
    """
    return any(setting.name == "seed" for setting in registry.list_settings(method))
