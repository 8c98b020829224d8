"""What a measure reads off a case, its protocols and its settings."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from salience import registry
from salience.describe.manual import read_manual
from salience.describe.settings import describe_settings

NEEDS = {"truth": "the object's place", "method": "the method", "gradients": "gradients", "spent": "what the map cost"}


def list_measures() -> list[dict[str, Any]]:
    """List all measures in plain values: what each is called, what it reads off a case, its protocols.

    >>> list_measures()[0]["name"]
    'accuracy'
    """
    all_facts = map(describe_measure, registry.list_names("measures"))
    return [{key: facts[key] for key in ("name", "about", "protocols")} for facts in all_facts]


def describe_measure(name: str) -> dict[str, Any]:
    """Describe a measure in plain values.

    >>> [protocol["name"] for protocol in describe_measure("sparsity")["protocols"]]
    ['gini', 'entropy', 'effective-pixels']
    """
    from salience import specs  # here, for what is kept can be shown without torch

    cls = type(specs.make_measure(name))
    settings = registry.list_settings(cls)
    made = [cls(protocol=each) for each in get_args(settings[0].type)]
    manual = read_manual(cls)
    return {
        "name": registry.find_name(cls),
        "about": manual.split("\n")[0],
        "source": (inspect.getdoc(inspect.getmodule(cls)) or "").split("\n")[0],
        "manual": manual,
        "protocols": [{"name": each.protocol, "better": each.better, "needs": list(each.needs)} for each in made],
        "settings": describe_settings(cls)[1:],
    }


def describe_needs(protocol: dict[str, Any]) -> str:
    """Say in words what a protocol needs.

    >>> describe_needs({"needs": ["truth", "gradients"]})
    "the object's place, gradients"
    """
    return ", ".join(NEEDS[each] for each in protocol["needs"]) or "nothing else"
