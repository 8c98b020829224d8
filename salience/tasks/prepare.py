"""A picture read and prepared, its target found, and what the record says of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from salience import registry
from salience.engine import maps
from salience.engine import target as targets
from salience.engine.query.ask import choose_backend, score_batch
from salience.engine.query.precision import refine
from salience.engine.query.run import Run, resume_run
from salience.errors import BoxError
from salience.estimates import Estimate
from salience.explanation import ClassScore, Explanation
from salience.picture import Geometry, Picture, Preparation, read
from salience.tasks.bands import measure_bands
from salience.types import (
    BackendBox,
    BlackBox,
    GreyBox,
    Image,
    Images,
    OpenBox,
    Probabilities,
    QuestionBox,
    Target,
)

BORDER, SEEN, USED = 0.1, 0.5, 0.05  # shares past which a sentence says so


@dataclass(frozen=True)
class PreparedPicture:
    """A picture and a target, ready to be explained.

    >>> from salience.boxes import toy
    >>> PreparedPicture(toy.load("colour"), torch.rand(3, 32, 32), 0, {}).target
    0
    """

    box: BlackBox
    image: Image
    target: Target
    known: dict[str, Any]  # what the record says of it beforehand
    notes: tuple[str, ...] = ()  # what a reader must know of how it was read and prepared

    def record(self, estimate: Estimate, passes: int, seconds: float) -> Explanation:
        """Make the record of an estimate."""
        return Explanation(
            box=_describe_box(self.box),
            saliency=estimate.saliency.detach().float().cpu(),
            error=None if estimate.error is None else estimate.error.detach().float().cpu(),
            passes=passes if estimate.passes is None else estimate.passes,
            seconds=seconds,
            stability=estimate.stability,
            notes=(*self.notes, *estimate.notes, *maps.find_flaws(estimate.saliency)),
            evidence=estimate.evidence,
            **self.known,
        )

    def add_bands(self, record: Explanation, batch: int | None) -> Explanation:
        """Add each band's share to a record of this picture."""
        score, saliency = record.target.probability, record.saliency
        return replace(record, bands=measure_bands(self.box, self.image, self.target, score, saliency, batch))


def prepare_pictures(
    box: BlackBox, sources: Sequence[Any], method: Any, wanted: Sequence[Any], run: Run
) -> list[PreparedPicture]:
    """Read and prepare pictures, score them as they are, and find out what each target is; one may have several.

    >>> from salience.boxes import toy
    >>> from salience.engine.query.budget import Budget
    >>> from salience.methods.occlusion import Occlusion
    >>> box, run = toy.load("colour"), Run(Budget(), None, None)
    >>> (picture,) = prepare_pictures(box, [torch.rand(3, 32, 32)], Occlusion(), ["blue"], run)
    >>> picture.target, picture.known["method"]
    (2, 'occlusion')
    """
    _expect_access(box, method)
    box.meet()
    box = refine(box, method)
    pictures = [read(source) for source in sources]
    prepared = [fit_picture(box, picture) for picture in pictures]
    with resume_run(run):
        if registry.find_need(type(method)) is not OpenBox:  # those may never ask for more than a reading
            choose_backend(box, prepared[0][0])
        images = torch.stack([image for image, _ in prepared]).to(box.device)
        rows = None if isinstance(box, QuestionBox) else score_batch(box, images).float().cpu()
        asked = [_ask(box, images, prepared, rows, target, number) for number, target in enumerate(wanted)]
    run.passes = 0  # the prediction is not the method's expense
    provenance = _provenance(method) | {"budget": str(run.budget)}
    ready = []
    for number, (one, row, resolved) in enumerate(asked):
        at = min(number, len(pictures) - 1)
        known = _score_classes(row, resolved, one) | provenance | {"geometry": prepared[at][1]}
        known |= {"image": pictures[at].name, "source": pictures[at].file or pictures[at]}
        known |= {"values": find_values(*prepared[at])}
        notes = describe_preparation(pictures[at], known["geometry"], known["values"])
        ready.append(PreparedPicture(one, images[at], resolved, known, notes))
    return ready


def _ask(
    box: BlackBox,
    images: Images,
    prepared: Sequence[tuple[Image, Geometry]],
    rows: Probabilities | None,
    wanted: Any,
    number: int,
) -> tuple[BlackBox, Float[Tensor, " k"], Target]:
    """Give the box that answers, its scores of the picture as it is, and the target among them."""
    at = min(number, len(prepared) - 1)
    if rows is not None:
        return box, rows[at], targets.resolve(wanted, rows[at].tolist(), box.classes)
    one, target = ask_places(box, images[at], prepared[at][1], wanted)
    return one, score_batch(one, images[at][None]).float().cpu()[0], target


def ask_places(box: BlackBox, image: Image, geometry: Geometry, wanted: Any) -> tuple[BlackBox, Target]:
    """Ask a model about a place of a picture; BoxError for one that scores classes.

    >>> from salience.boxes import toy
    >>> ask_places(toy.load("colour"), torch.rand(3, 32, 32), Geometry((32, 32), (32, 32), (0, 32, 0, 32)), "car 1")
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected a model that answers for places, got toy:colour: give a class
    """
    if not isinstance(box, QuestionBox):
        raise BoxError(f"expected a model that answers for places, got {box.name}: give a class")
    return box.ask(image, geometry, wanted)


def list_places(box: QuestionBox, picture: Picture) -> list[str]:
    """Name what there is to ask a model about in a picture; TargetError where it finds nothing.

    >>> list_places.__name__
    'list_places'
    """
    image, geometry = fit_picture(box, picture)
    places = list(box.list_places(image.to(box.device), geometry))
    if not places:
        box.ask(image.to(box.device), geometry, None)  # which says so
    return places


def _expect_access(box: BlackBox, method: Any) -> None:
    needed = registry.find_need(type(method))
    if not isinstance(box, needed):
        has = "gradients" if needed is OpenBox else "inner layers"
        raise BoxError(
            f"expected a box with {has} for {registry.find_name(method)}, got {box.name}: choose a black-box method"
        )


def _score_classes(row: Float[Tensor, " k"], target: Target, box: BlackBox) -> dict[str, Any]:
    score = float(targets.pick(target, row[None])[0])
    likely = row.topk(min(5, len(row)))
    top5 = tuple(
        ClassScore(int(k), box.classes[k], float(p)) for p, k in zip(likely.values, likely.indices.tolist(), strict=True)
    )
    index = target if isinstance(target, int) else None
    return {"target": ClassScore(index, targets.describe(target, box.classes), score), "top5": top5}


def _provenance(method: Any) -> dict[str, Any]:
    return {
        "method": registry.find_name(method),
        "settings": asdict(method),
        "seed": getattr(method, "seed", None),
        "versions": dict(_versions()),
    }


@cache
def _versions() -> Mapping[str, str]:
    return {name: version(name) for name in ("salience", "torch", "numpy", "pillow")}


def fit_picture(box: BlackBox, picture: Picture) -> tuple[Image, Geometry]:
    """Prepare a picture as the box wants it.

    >>> import numpy as np
    >>> from salience.boxes import toy
    >>> image, geometry = fit_picture(toy.load("colour"), read(np.zeros((60, 80, 3), np.uint8)))
    >>> image.shape, geometry.photograph
    (torch.Size([3, 32, 32]), (60, 80))
    """
    prepare: Preparation = box.preparation or Preparation(box.size)
    return prepare(picture, box.channels)


def find_values(image: Image, geometry: Geometry) -> tuple[float, float]:
    """Find the least and the largest value of an image, without its border.

    >>> find_values(torch.full((3, 8, 8), 0.5), Geometry((8, 8), (8, 8), (0, 8, 0, 8)))
    (0.5, 0.5)
    """
    rows, columns = geometry.inside
    least, most = torch.aminmax(image[:, rows, columns])
    return float(least), float(most)


def describe_preparation(picture: Picture, geometry: Geometry, values: tuple[float, float]) -> tuple[str, ...]:
    """Say what black and white were taken for, and what of the photograph or of the image goes to waste past a bound.

    >>> grey = read(torch.full((3, 8, 16), 0.5))
    >>> describe_preparation(grey, Geometry((8, 16), (8, 8), (0, 8, 5, 11)), (0.0, 1.0))
    ('only 38% of the photograph is seen: resize= with a shorter side shows more of it',)
    """
    border, seen, used = geometry.share_of_border, geometry.share_seen, values[1] - values[0]
    sentences = (
        (picture.seen, picture.seen != ""),
        (f"{border:.0%} of the image is border without photograph: resize= with a longer side fills it", border > BORDER),
        (f"only {seen:.0%} of the photograph is seen: resize= with a shorter side shows more of it", seen < SEEN),
        (f"its values use {used:.1%} of the range from black to white: are white and black right?", used < USED),
    )
    return tuple(sentence for sentence, holds in sentences if holds)


def _describe_check(box: BackendBox) -> dict[str, Any]:
    return {**box.check, **({"precision": box.precision} if box.precision else {})}


def _describe_box(box: BlackBox) -> dict[str, Any]:
    return {
        "name": box.name,
        "fingerprint": box.fingerprint,
        "backend": box.backend,
        "check": _describe_check(box) if isinstance(box, BackendBox) else {},
        "preprocessing": str(box.preparation or "none"),
        "found": [asdict(each) for each in box.findings],
        "question": box.question,
        "numbers": box.numbers,
        "device": str(box.device),
        "access": "open" if isinstance(box, OpenBox) else "grey" if isinstance(box, GreyBox) else "black",
    }
