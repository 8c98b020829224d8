"""Look a box over in a few seconds: what was found on meeting it, its layers, the methods that it admits, and a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from salience import registry
from salience.engine import maps
from salience.errors import SalienceError
from salience.explanation import Explanation
from salience.tasks.explain import explain
from salience.tasks.load import load
from salience.types import BackendBox, BlackBox, GreyBox, OpenBox

SAMPLE = Path(__file__).parents[1] / "sample.jpg"
SECONDS = 2.0


def check_box(
    box: Any, picture: Any = None, *, seconds: float = SECONDS, **options: Any
) -> tuple[dict[str, Any], Explanation]:
    """Return what there is to say of a box in plain values, and the explanation of one picture made in a few seconds.

    `box` and `options` are those of `load`; without a picture a sample photograph is explained.

    >>> facts, why = check_box("toy:colour", seconds=0.2)
    >>> facts["classes"], facts["layers"]["top"], facts["map"]["flaws"]
    (3, {'name': 'act', 'shape': [3, 32, 32]}, [])
    """
    opened = load(box, **options)
    opened.meet()
    source = _make_picture(opened) if picture is None else picture
    why = explain(opened, source, budget=f"{seconds}s")
    facts = {
        "name": opened.name,
        "access": why.box["access"],
        "device": str(opened.device),
        "fingerprint": opened.fingerprint,
        "preparation": why.box["preprocessing"],
        "found": [asdict(each) for each in opened.findings],
        "classes": len(opened.classes),
        "backend": {"chosen": opened.backend, "tried": dict(opened.check).get("tried", {})}
        if isinstance(opened, BackendBox)
        else {"chosen": opened.backend, "tried": {}},
        "layers": _try(lambda: find_layers(opened, why)) if isinstance(opened, GreyBox) else None,
        "gradients": _try(lambda: find_gradients(opened)) if isinstance(opened, OpenBox) else None,
        "methods": list_methods(opened),
        "map": describe_map(why),
        "versions": dict(why.versions),
    }
    return facts, why


def _make_picture(box: BlackBox) -> Any:
    """Return the sample, or noise in as many bands as the box takes."""
    if box.channels in (1, 3):
        return SAMPLE
    return torch.rand(box.channels, *box.size, generator=torch.Generator().manual_seed(0))


def _try(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is said, or why it cannot be."""
    try:
        return ask()
    except SalienceError as problem:
        return {"problem": str(problem)}


def find_layers(box: GreyBox, why: Explanation) -> dict[str, Any]:
    """Name the layers that methods look at, with the shapes of their feature maps.

    >>> from salience.boxes import toy
    >>> find_layers(toy.load("colour"), explain("toy:colour", toy.picture(), budget=64))["note"]
    ''
    """
    from salience.tasks.prepare import fit_picture

    info = box.layer_info()
    names = list(dict.fromkeys((*info.blocks, info.top)))
    image = fit_picture(box, why.picture)[0][None].to(box.device)
    shapes = {name: list(each.shape[1:]) for name, each in box.activations(image, names).items()}
    blocks = [{"name": name, "shape": shapes[name]} for name in info.blocks]
    return {"blocks": blocks, "top": {"name": info.top, "shape": shapes[info.top]}, "note": info.note}


def find_gradients(box: OpenBox) -> dict[str, Any]:
    """Say whether the score moves with the pixels.

    >>> from salience.boxes import toy
    >>> find_gradients(toy.load("colour"))
    {'move': True}
    """
    channels = 3 if box.channels == 1 else box.channels
    image = torch.rand(1, channels, *box.size, generator=torch.Generator().manual_seed(1)).to(box.device)
    inner = box.differentiate(image, None, ["image"])
    return {"move": bool(inner.gradients["image"].abs().max() > 0)}


def list_methods(box: BlackBox) -> dict[str, list[str]]:
    """List the methods that a box admits, by what they need.

    >>> from salience.boxes import toy
    >>> sorted(list_methods(toy.load("colour")))
    ['BlackBox', 'GreyBox', 'OpenBox']
    """
    found: dict[str, list[str]] = {}
    for name in registry.list_names("methods"):
        need = registry.find_need(registry.find_method(name))
        if isinstance(box, need):
            found.setdefault(need.__name__, []).append(name)
    return found


def describe_map(why: Explanation) -> dict[str, Any]:
    """Say in plain values what the map is of, what it took, and what is wrong with it.

    >>> describe_map(explain("toy:colour", torch.rand(3, 32, 32), budget=64))["passes"]
    64
    """
    return {
        "method": why.called,
        "target": why.target.name,
        "score": why.target.probability,
        "passes": why.passes,
        "seconds": why.seconds,
        "stability": why.stability,
        "flaws": list(maps.find_flaws(why.saliency)),
        "notes": list(why.notes),
    }
