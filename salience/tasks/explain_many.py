"""Several pictures at once, or several targets of one picture."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from salience.engine.query.budget import Budget
from salience.engine.query.run import Run, resume_run
from salience.engine.query.score_cache import share_scores
from salience.estimates import BatchedMethod, Sampler
from salience.explanation import Explanation
from salience.tasks.bands import count_band_passes
from salience.tasks.explain_one import explain_steps, take_last
from salience.tasks.prepare import PreparedPicture, prepare_pictures
from salience.types import BlackBox, QuestionBox

AT_ONCE = 32  # pictures that are read, prepared and scored together


def explain_pictures(
    box: BlackBox, sources: Sequence[Any], method: Any, wanted: Sequence[Any], **given: Any
) -> list[Explanation]:
    """Explain several pictures, together where the method does that and nobody bounds each.

    >>> from salience.boxes import toy
    >>> from salience.methods.gradient import Gradient
    >>> given = {"budget": None, "batch": 2, "progress": None}
    >>> pictures = [torch.rand(3, 32, 32), torch.rand(3, 32, 32)]
    >>> red, blue = explain_pictures(toy.load("colour"), pictures, Gradient(), ["red", "blue"], **given)
    >>> red.target.name, blue.target.name
    ('red', 'blue')
    """
    singly = isinstance(method, Sampler) or not isinstance(method, BatchedMethod) or isinstance(box, QuestionBox)
    if singly or given["budget"] is not None:
        return _explain_each(box, sources, method, wanted, **given)
    done: list[Explanation] = []
    for begin in range(0, len(sources), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        run = Run(Budget(), given["batch"], given["progress"])
        cases = prepare_pictures(box, sources[part], method, wanted[part], run)
        found = _explain_batch(torch.stack([case.image for case in cases]), method, cases, run)
        done += _add_bands(box, cases, found, given)
    return done


def explain_targets(box: BlackBox, source: Any, method: Any, wanted: Sequence[Any], **given: Any) -> list[Explanation]:
    """Explain one picture for several targets, which share what passes they can.

    >>> from salience.boxes import toy
    >>> from salience.methods.gradient import Gradient
    >>> given = {"budget": None, "batch": 2, "progress": None}
    >>> red, blue = explain_targets(toy.load("colour"), torch.rand(3, 32, 32), Gradient(), ["red", "blue"], **given)
    >>> torch.equal(red.saliency, blue.saliency)
    False
    """
    together = isinstance(method, BatchedMethod) and not isinstance(method, Sampler) and not isinstance(box, QuestionBox)
    if together and given["budget"] is None:
        run = Run(Budget(), given["batch"], given["progress"])
        cases = prepare_pictures(box, [source], method, wanted, run)
        return _add_bands(box, cases, _explain_batch(cases[0].image[None], method, cases, run), given)
    with share_scores():
        return [_explain_one(box, source, method, target, **given) for target in wanted]


def _explain_one(box: BlackBox, source: Any, method: Any, target: Any, **given: Any) -> Explanation:
    return take_last(explain_steps(box, source, method, target=target, **given))


def _explain_batch(images: Tensor, method: Any, cases: Sequence[PreparedPicture], run: Run) -> list[Explanation]:
    began = time.perf_counter()
    with resume_run(run):
        found = method.many(cases[0].box, images, [case.target for case in cases])
    seconds, passes = (time.perf_counter() - began) / len(cases), run.passes // len(images)
    return [case.record(one, passes, seconds) for case, one in zip(cases, found, strict=True)]


def _add_bands(
    box: BlackBox, cases: Sequence[PreparedPicture], explanations: list[Explanation], given: Mapping[str, Any]
) -> list[Explanation]:
    """Add each band's share where it is asked for; nobody bounds the passes here."""
    if not given.get("band_shares") or not count_band_passes(box):
        return explanations
    return [case.add_bands(why, given["batch"]) for case, why in zip(cases, explanations, strict=True)]


def _explain_each(
    box: BlackBox, sources: Sequence[Any], method: Any, wanted: Sequence[Any], **given: Any
) -> list[Explanation]:
    """Explain each picture for itself; the first one finds the backend and the size of a batch."""
    pairs = zip(sources, wanted, strict=True)
    return [_explain_one(box, source, method, target, **given) for source, target in pairs]
