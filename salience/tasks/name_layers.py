"""Modules that were given as layers, by their names."""

from __future__ import annotations

from typing import Any

from torch import nn

from salience.engine.inside.loop import name_layer
from salience.types import BlackBox, GreyBox


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
