"""An explanation as the case that measures look at: the one place that assembles it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from salience.case import Case, Cost, Explain, Sample
from salience.engine.query.precision import refine
from salience.engine.query.run import current, start_run
from salience.explanation import Explanation
from salience.picture import read
from salience.tasks.choose_method import has_seed
from salience.tasks.prepare import fit_picture
from salience.tasks.truth import make_truth
from salience.types import BlackBox, Image, Map, Target


def assemble_case(
    box: BlackBox,
    why: Explanation,
    sample: Sample,
    target: Target,
    method: Any,
    *,
    budget: Any = None,
    batch: int | None = None,
    memory: int | None = None,
) -> Case:
    """Prepare the picture again, bring the truth to the image's size, and give what asks the method once more.

    >>> import torch
    >>> from salience import explain
    >>> red = torch.tensor([1.0, 0.0, 0.0])[:, None, None] * torch.eye(32)
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> from salience.methods.occlusion import Occlusion
    >>> from salience.boxes import toy
    >>> sample = Sample("red", why.picture)
    >>> case = assemble_case(toy.load("colour"), why, sample, 0, Occlusion())
    >>> case.image.shape, case.truth, case.spent.passes
    (torch.Size([3, 32, 32]), None, 5)
    """
    image, geometry = fit_picture(box, read(sample.picture))
    truth = make_truth(sample, geometry)
    return Case(
        box,
        image.to(box.device),
        target,
        why.saliency.to(box.device),
        None if truth is None else truth.to(box.device),
        make_explain(method, budget, batch),
        Cost(why.passes, why.seconds, memory),
    )


def make_explain(method: Any, budget: Any, batch: int | None) -> Explain:
    """Make the function that asks a method once more; its passes count as the measure's.

    >>> import torch
    >>> from salience.boxes import toy
    >>> from salience.methods.occlusion import Occlusion
    >>> again = make_explain(Occlusion(window=16, stride=16), None, None)
    >>> again(toy.load("colour"), torch.rand(3, 32, 32), 0, None).shape
    torch.Size([32, 32])
    """

    def explain(box: BlackBox, image: Image, target: Target, seed: int | None) -> Map:
        seeded = replace(method, seed=seed) if seed is not None and has_seed(type(method)) else method
        outer = current.get()
        with start_run(budget, batch) as run:
            saliency: Map = seeded(refine(box, method), image, target)
        if outer is not None:
            outer.count(run.passes)
        return saliency.detach()

    return explain
