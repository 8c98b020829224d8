"""The library in three verbs: `load` a box, `explain` an image, `watch` an explanation grow."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from salience import registry
from salience.engine import maps, memory, probe
from salience.engine import target as targets
from salience.engine.budget import Budget
from salience.errors import BoxError, SettingError
from salience.explanation import Explanation, Told
from salience.picture import Geometry, Picture, Preparation, read
from salience.types import Batched, BlackBox, Found, GreyBox, Image, OpenBox, Sampler, Target

# Of those that need only scores, the one that localises best within ten seconds (docs/results/iassa.md).
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
    function of the probabilities. `budget` is 2000, "2000 passes" or "10s".

    Returns an `Explanation`, or a list of them in the order of the pictures.
    """
    box, made = registry.box(box), prepared(method, seed, settings)
    given = {"target": target, "budget": budget, "batch": batch, "progress": progress}
    if isinstance(image, (list, tuple)) or (isinstance(image, torch.Tensor) and image.ndim == 4):
        each = target if isinstance(target, list) else [target] * len(image)
        if len(each) != len(image):
            raise SettingError(f"expected one target for each of {len(image)} pictures, got {len(each)}")
        found: Any = [_last(box, one, made, **(given | {"target": wanted})) for one, wanted in zip(image, each, strict=True)]
    else:
        found = _last(box, image, made, **given)
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
    return _steps(box, image, made, target=target, budget=budget, batch=batch, progress=progress)


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


def _last(box: BlackBox, image: Any, method: Any, **given: Any) -> Explanation:
    return deque(_steps(box, image, method, **given), maxlen=1)[0]


def _steps(
    box: BlackBox, source: Any, method: Any, *, target: Any, budget: Any, batch: int | None, progress: Any
) -> Iterator[Explanation]:
    _admit(box, method)
    picture = read(source)
    image, geometry = _fitted(box, picture)
    run = probe.Run(Budget.of(budget), batch, progress)
    with probe.resumed(run):
        probe.settle(box, image)
        image = image.to(box.device)
        row = probe.score(box, image[None])[0].float().cpu()
    run.passes = 0  # the prediction is not the method's expense
    aim = targets.resolve(target, row.tolist(), box.classes)
    known = _told(row, aim, box) | _provenance(box, method) | {"geometry": geometry}
    known |= {"image": picture.name, "encoded": picture.encoded, "budget": str(run.budget)}
    steps = _watched(method, box, image, aim)
    began = time.perf_counter()
    while True:
        with probe.resumed(run):
            found = next(steps, None)
        if found is None:
            return
        yield Explanation(
            saliency=found.saliency.detach().float().cpu(),
            error=None if found.error is None else found.error.detach().float().cpu(),
            passes=run.passes,
            seconds=time.perf_counter() - began,
            stability=found.stability,
            notes=(*found.notes, *maps.flaws(found.saliency)),
            evidence=found.evidence,
            **known,
        )


def _admit(box: BlackBox, method: Any) -> None:
    needed = registry.need(type(method))
    if not isinstance(box, needed):
        has = "gradients" if needed is OpenBox else "inner layers"
        raise BoxError(f"expected a box with {has} for {registry.called(method)}, got {box.name}: choose a black-box method")


def _told(row: Float[Tensor, " k"], aim: Target, box: BlackBox) -> dict[str, Any]:
    clean = float(targets.pick(aim, row[None])[0])
    likely = row.topk(min(5, len(row)))
    top5 = tuple(Told(int(k), box.classes[k], float(p)) for p, k in zip(likely.values, likely.indices.tolist(), strict=True))
    index = aim if isinstance(aim, int) else None
    return {"target": Told(index, targets.name(aim, box.classes), clean), "top5": top5}


def _provenance(box: BlackBox, method: Any) -> dict[str, Any]:
    return {
        "method": registry.called(method),
        "settings": asdict(method),
        "seed": getattr(method, "seed", None),
        "box": _described(box),
        "versions": {name: version(name) for name in ("salience", "torch", "numpy", "pillow")},
    }


def _watched(method: Any, box: BlackBox, image: Image, target: Any) -> Iterator[Found]:
    if isinstance(method, Sampler):
        yield from method.watch(box, image, target)
    elif isinstance(method, Batched):
        yield from method.many(box, image[None], [target])
    else:
        yield Found(method(box, image, target))


def _fitted(box: BlackBox, picture: Picture) -> tuple[Image, Geometry]:
    prepare: Preparation = getattr(box, "preparation", None) or Preparation(box.size)
    return prepare(picture)


def _described(box: BlackBox) -> dict[str, Any]:
    return {
        "name": box.name,
        "fingerprint": box.fingerprint,
        "lane": box.lane,
        "check": getattr(box, "check", {}),
        "preprocessing": str(getattr(box, "preparation", "none")),
        "device": str(box.device),
        "access": "open" if isinstance(box, OpenBox) else "grey" if isinstance(box, GreyBox) else "black",
    }
