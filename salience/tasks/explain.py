"""From a box, a picture and a method to the record."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from salience import registry
from salience.engine import maps, validate
from salience.engine import target as aiming
from salience.engine.query.ask import choose_backend, score_batch
from salience.engine.query.budget import Budget
from salience.engine.query.run import Run, resume_run
from salience.errors import BoxError
from salience.explanation import ClassScore, Explanation
from salience.picture import Geometry, Picture, Preparation, read
from salience.types import BatchedMethodProtocol, BlackBox, Estimate, GreyBox, Image, OpenBox, Sampler, Target


def take_last(found: Iterator[Explanation]) -> Explanation:
    """Go to the end."""
    return deque(found, maxlen=1)[0]


def explain_steps(
    box: BlackBox,
    source: Any,
    method: Any,
    *,
    target: Any,
    budget: Any,
    batch: int | None,
    progress: Any,
    tolerance: float | None = None,
) -> Iterator[Explanation]:
    """Explain one picture, yielding the record as it grows; with a tolerance, until the map stands still."""
    validate.expect_between("tolerance", tolerance, 0, 1, open_ends=True)
    run = Run(Budget.of(budget), batch, progress)
    case = prepare_pictures(box, [source], method, [target], run)[0]
    found = _watch(method, box, case)
    trace: list[tuple[int, float | None]] = []  # passes, stability
    began = time.perf_counter()
    while True:
        with resume_run(run):
            one = next(found, None)
        if one is None:
            return
        if isinstance(method, Sampler):
            trace += [(run.passes, one.stability)] if not trace or run.passes > trace[-1][0] else []
            one = replace(one, evidence={**one.evidence, "trace": list(trace)})
        yield case.record(one, run.passes, time.perf_counter() - began)
        if tolerance is not None and _still(trace, tolerance):
            return


def _still(trace: list[tuple[int, float | None]], tolerance: float) -> bool:
    """Say whether the halves agreed well enough twice in a row: once may be luck."""
    return len(trace) > 1 and all(stable is not None and stable >= 1 - tolerance for _, stable in trace[-2:])


@dataclass(frozen=True)
class PreparedPicture:
    """A picture and a target, ready to be explained."""

    box: BlackBox
    image: Image
    target: Target
    known: dict[str, Any]  # what the record says of it beforehand

    def record(self, found: Estimate, passes: int, seconds: float) -> Explanation:
        """Make the record of what was found."""
        return Explanation(
            box=_describe_box(self.box),
            saliency=found.saliency.detach().float().cpu(),
            error=None if found.error is None else found.error.detach().float().cpu(),
            passes=passes if found.passes is None else found.passes,
            seconds=seconds,
            stability=found.stability,
            notes=(*found.notes, *maps.find_flaws(found.saliency)),
            evidence=found.evidence,
            **self.known,
        )


def prepare_pictures(
    box: BlackBox, sources: Sequence[Any], method: Any, wanted: Sequence[Any], run: Run
) -> list[PreparedPicture]:
    """Read and prepare pictures, score them as they are, and find out what each target is; one may have several."""
    _expect_access(box, method)
    shown = [read(source) for source in sources]
    prepared = [fit_picture(box, picture) for picture in shown]
    with resume_run(run):
        if registry.need_of(type(method)) is not OpenBox:  # those may never ask for more than a reading
            choose_backend(box, prepared[0][0])
        images = torch.stack([image for image, _ in prepared]).to(box.device)
        rows = score_batch(box, images).float().cpu()
    run.passes = 0  # the prediction is not the method's expense
    made = _provenance(method) | {"budget": str(run.budget)}
    found = []
    for number, target in enumerate(wanted):
        at = min(number, len(shown) - 1)
        aim = aiming.resolve(target, rows[at].tolist(), box.classes)
        known = _score_classes(rows[at], aim, box) | made | {"geometry": prepared[at][1]}
        found.append(PreparedPicture(box, images[at], aim, known | {"image": shown[at].name, "encoded": shown[at].encoded}))
    return found


def _watch(method: Any, box: BlackBox, case: PreparedPicture) -> Iterator[Estimate]:
    if isinstance(method, Sampler):
        yield from method.watch(box, case.image, case.target)
    elif isinstance(method, BatchedMethodProtocol):
        yield from method.many(box, case.image[None], [case.target])
    else:
        yield Estimate(method(box, case.image, case.target))


def _expect_access(box: BlackBox, method: Any) -> None:
    needed = registry.need_of(type(method))
    if not isinstance(box, needed):
        has = "gradients" if needed is OpenBox else "inner layers"
        raise BoxError(
            f"expected a box with {has} for {registry.name_of(method)}, got {box.name}: choose a black-box method"
        )


def _score_classes(row: Float[Tensor, " k"], aim: Target, box: BlackBox) -> dict[str, Any]:
    clean = float(aiming.pick(aim, row[None])[0])
    likely = row.topk(min(5, len(row)))
    top5 = tuple(
        ClassScore(int(k), box.classes[k], float(p)) for p, k in zip(likely.values, likely.indices.tolist(), strict=True)
    )
    index = aim if isinstance(aim, int) else None
    return {"target": ClassScore(index, aiming.describe(aim, box.classes), clean), "top5": top5}


def _provenance(method: Any) -> dict[str, Any]:
    return {
        "method": registry.name_of(method),
        "settings": asdict(method),
        "seed": getattr(method, "seed", None),
        "versions": dict(_versions()),
    }


@cache
def _versions() -> Mapping[str, str]:
    return {name: version(name) for name in ("salience", "torch", "numpy", "pillow")}


def fit_picture(box: BlackBox, picture: Picture) -> tuple[Image, Geometry]:
    """Prepare a picture as the box wants it."""
    prepare: Preparation = getattr(box, "preparation", None) or Preparation(box.size)
    return prepare(picture)


def _describe_box(box: BlackBox) -> dict[str, Any]:
    return {
        "name": box.name,
        "fingerprint": box.fingerprint,
        "backend": box.backend,
        "check": getattr(box, "check", {}),
        "preprocessing": str(getattr(box, "preparation", "none")),
        "device": str(box.device),
        "access": "open" if isinstance(box, OpenBox) else "grey" if isinstance(box, GreyBox) else "black",
    }
