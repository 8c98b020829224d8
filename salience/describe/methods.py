"""What a method needs, its manual and its settings."""

from __future__ import annotations

import inspect
from typing import Any

from salience import registry
from salience.describe.manual import read_manual
from salience.describe.settings import describe_settings

NEEDS = {"BlackBox": "any box", "GreyBox": "inner layers", "OpenBox": "gradients"}


def list_methods() -> list[dict[str, Any]]:
    """List all methods in plain values: what each is called, what it needs of a box, what it does.

    >>> list_methods()[0]["name"]
    'ablation-cam'
    """
    all_facts = map(describe_method, registry.list_names("methods"))
    return [{key: facts[key] for key in ("name", "needs", "about")} for facts in all_facts]


def describe_method(name: str) -> dict[str, Any]:
    """Describe a method in plain values.

    >>> facts = describe_method("occlusion")
    >>> facts["needs"], [setting["name"] for setting in facts["settings"]]
    ('any box', ['window', 'stride', 'fill', 'seed'])
    """
    cls = registry.find_method(name)
    manual = read_manual(cls)
    return {
        "name": registry.find_name(cls),
        "needs": describe_need(cls),
        "about": manual.split("\n")[0],
        "source": (inspect.getdoc(inspect.getmodule(cls)) or "").split("\n")[0],
        "manual": manual,
        "settings": describe_settings(cls),
    }


def describe_need(cls: type[Any]) -> str:
    """Say what a class of methods needs of a box.

    >>> describe_need(registry.find_method("grad-cam"))
    'gradients'
    """
    return NEEDS[registry.find_need(cls).__name__]
