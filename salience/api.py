"""The library in four verbs: `load` a box, `explain` an image, `watch` an explanation grow, `measure` it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from salience import registry
from salience.case import Case, Cost
from salience.engine.query import allocator
from salience.engine.query.budget import Budget
from salience.engine.query.run import Progress
from salience.errors import BoxError, SettingError
from salience.explanation import Explanation
from salience.picture import read
from salience.tasks.explain import explain_steps, fit_picture, take_last
from salience.tasks.explain_many import explain_pictures, explain_targets
from salience.tasks.measure import Measurement, make_explain, make_measures, measure_case
from salience.types import BlackBox, Target

# Within ten seconds it and centred RISE are the most faithful, and it localises better (docs/results/iassa.md).
DEFAULT: dict[str, Any] = {"method": "iassa", "variant": "plus"}


def load(box: Any = "default", **options: Any) -> BlackBox:
    """Make a box of a spec, a torch module or a plain function.

    `load("timm:resnet50")`, `load(net, size=224, mean=…, std=…, classes=[…])`, `load(function, size=224,
    takes="numpy")`. What the weights publish (size, normalisation, class names) need not be given, and may be.
    """
    return registry.open_box(box, **options)


def explain(
    box: Any,
    image: Any,
    method: Any = None,
    *,
    target: Any = None,
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Any:
    """Explain one picture, or a list of pictures or a batch tensor `(n 3 h w)`, which gives a list.

    `box` and `image` are whatever `load` and `picture.read` take. `method` is a name or a method object; `settings`
    are its fields. `target` is None or "predicted", "runner-up", an index, a class name, a pair for a contrast, or a
    function of the probabilities. A list of targets is one for each of several pictures, or several for one picture,
    which then share what passes they can. `budget` is 2000, "2000 passes" or "10s", for each map. `tolerance` stops a
    method that samples as soon as the maps of either half of its passes agree in rank by 1 − tolerance.

    Pictures of a list share batches, unless `batch` or a budget in seconds is given.

    Returns an `Explanation`, or a list of them in the order of the pictures or targets.
    """
    box, made = registry.open_box(box), make_method(method, seed, settings)
    given = {"budget": budget, "batch": batch, "progress": progress, "tolerance": tolerance}
    if isinstance(image, (list, tuple)) or (isinstance(image, torch.Tensor) and image.ndim == 4):
        each = target if isinstance(target, list) else [target] * len(image)
        if len(each) != len(image):
            raise SettingError(f"expected one target for each of {len(image)} pictures, got {len(each)}")
        found: Any = explain_pictures(box, list(image), made, each, **given)
    elif isinstance(target, list):
        found = explain_targets(box, image, made, target, **given)
    else:
        found = take_last(explain_steps(box, image, made, target=target, **given))
    allocator.release_memory()
    return found


def watch(
    box: Any,
    image: Any,
    method: Any = None,
    *,
    target: Any = None,
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Iterator[Explanation]:
    """Yield the explanation as it grows; stop whenever it is good enough. The last one is what `explain` returns."""
    box, made = registry.open_box(box), make_method(method, seed, settings)
    given = {"budget": budget, "batch": batch, "progress": progress, "tolerance": tolerance}
    return explain_steps(box, image, made, target=target, **given)


def measure(
    box: Any,
    why: Explanation,
    measures: Sequence[Any],
    *,
    target: Target | None = None,
    truth: Any = None,
    batch: int | None = None,
) -> list[Measurement]:
    """Measure an explanation: one figure a measure, each stamped with its protocol.

    `measures` are specs like "deletion", "average-drop/sise-15" or "sparsity/gini" (`salience list measures`), or
    measure objects. `truth` is where the object is: a mask of the photograph's size, white on black, as anything that
    `picture.read` takes. `target` is needed only where the explanation is of a contrast or a function. Raises
    SettingError where a measure needs something that is not there, BoxError for another box than the one explained.
    """
    box = registry.open_box(box)
    if box.fingerprint != why.box["fingerprint"]:
        raise BoxError(f"expected the box that was explained, {why.box['name']}, got another: {box.name}; load that one")
    aim = target if target is not None else why.target.index
    if aim is None:
        raise SettingError(f"expected the target for an explanation of {why.target.name}, got none: give target=")
    image, geometry = fit_picture(box, why.picture)
    placed = None
    if truth is not None:
        mask = read(truth)
        if mask.size != geometry.photograph:
            raise SettingError(f"expected a truth of the photograph's size {geometry.photograph}, got {mask.size}")
        grey = torch.frombuffer(bytearray(mask.pixels.convert("L").tobytes()), dtype=torch.uint8).reshape(mask.size)
        placed = geometry.project(grey.float() / 255).to(box.device) > 0.5
    budget = None if why.budget == str(Budget()) else why.budget
    explain = make_explain(registry.make_method(why.method, **why.settings), budget, batch)
    spent = Cost(why.passes, why.seconds)
    case = Case(box, image.to(box.device), aim, why.saliency.to(box.device), placed, explain, spent)
    return [measure_case(case, each, batch) for each in make_measures(measures)]


def make_method(method: Any, seed: int | None, settings: dict[str, Any]) -> Any:
    """Make the method of a name, or the default one, or change a method object's settings."""
    if method is not None and not isinstance(method, str):
        changes = settings if seed is None else settings | {"seed": seed}
        return replace(method, **changes) if changes else method
    if method is None:
        settings = DEFAULT | settings
        method = settings.pop("method")
    if seed is not None and "seed" in {each.name for each in registry.list_settings(registry.find_method(method))}:
        settings = settings | {"seed": seed}
    return registry.make_method(method, **settings)
