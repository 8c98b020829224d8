"""The library in three verbs: `load` a box, `explain` an image, `watch` an explanation grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from salience import explaining, registry
from salience.engine import memory, probe
from salience.errors import SettingError
from salience.explanation import Explanation
from salience.types import BlackBox

# Within ten seconds it and centred RISE are the most faithful, and it localises better (docs/results/iassa.md).
DEFAULT: dict[str, Any] = {"method": "iassa", "variant": "plus"}


def load(box: Any = "default", **options: Any) -> BlackBox:
    """Make a box of a spec, a torch module or a plain function.

    `load("timm:resnet50")`, `load(net, size=224, mean=…, std=…, classes=[…])`, `load(function, size=224,
    takes="numpy")`. What the weights publish (size, normalisation, class names) need not be given, and may be.
    """
    return registry.box(box, **options)


def explain(
    box: Any,
    image: Any,
    method: Any = None,
    *,
    target: Any = None,
    budget: Any = None,
    seed: int | None = None,
    batch: int | None = None,
    progress: probe.Progress | None = None,
    **settings: Any,
) -> Any:
    """Explain one picture, or a list of pictures or a batch tensor `(n 3 h w)`, which gives a list.

    `box` and `image` are whatever `load` and `picture.read` take. `method` is a name or a method object; `settings`
    are its fields. `target` is None or "predicted", "runner-up", an index, a class name, a pair for a contrast, or a
    function of the probabilities. A list of targets is one for each of several pictures, or several for one picture,
    which then share what passes they can. `budget` is 2000, "2000 passes" or "10s", for each map.

    Returns an `Explanation`, or a list of them in the order of the pictures or targets.
    """
    box, made = registry.box(box), prepared(method, seed, settings)
    given = {"budget": budget, "batch": batch, "progress": progress}
    if isinstance(image, (list, tuple)) or (isinstance(image, torch.Tensor) and image.ndim == 4):
        each = target if isinstance(target, list) else [target] * len(image)
        if len(each) != len(image):
            raise SettingError(f"expected one target for each of {len(image)} pictures, got {len(each)}")
        found: Any = explaining.pictures(box, list(image), made, each, **given)
    elif isinstance(target, list):
        found = explaining.targets(box, image, made, target, **given)
    else:
        found = explaining.last(explaining.steps(box, image, made, target=target, **given))
    memory.release()
    return found


def watch(
    box: Any,
    image: Any,
    method: Any = None,
    *,
    target: Any = None,
    budget: Any = None,
    seed: int | None = None,
    batch: int | None = None,
    progress: probe.Progress | None = None,
    **settings: Any,
) -> Iterator[Explanation]:
    """Yield the explanation as it grows; stop whenever it is good enough. The last one is what `explain` returns."""
    box, made = registry.box(box), prepared(method, seed, settings)
    return explaining.steps(box, image, made, target=target, budget=budget, batch=batch, progress=progress)


def prepared(method: Any, seed: int | None, settings: dict[str, Any]) -> Any:
    """Make the method of a name, or the default one, or change a method object's settings."""
    if method is not None and not isinstance(method, str):
        changes = settings if seed is None else settings | {"seed": seed}
        return replace(method, **changes) if changes else method
    if method is None:
        settings = DEFAULT | settings
        method = settings.pop("method")
    if seed is not None and "seed" in {each.name for each in registry.settings(registry.method(method))}:
        settings = settings | {"seed": seed}
    return registry.make(method, **settings)
