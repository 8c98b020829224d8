"""A measure as a torchmetrics `Metric`: its mean over cases, which merges over batches and processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torchmetrics import Metric

from salience import specs
from salience.case import Case
from salience.tasks.measure import measure_case
from salience.types import BlackBox, Images, Masks, Target


class Saliency(Metric):
    """The mean of a measure, without the cases for which it is not defined; NaN where it is defined for none.

    `measure` is a spec ("deletion", "energy/sise") or a measure; further arguments are torchmetrics' own. A measure
    that asks for the method or its cost has no place here: use `salience bench`.

        metric = Saliency("average-drop")
        metric.update(box, images, targets, saliencies)    # as often as there are batches
        metric.compute()

    >>> from salience.boxes import toy
    >>> metric = Saliency("average-drop")
    >>> metric.update(toy.load("colour"), torch.rand(2, 3, 32, 32), [0, 1], torch.rand(2, 32, 32))
    >>> 0 <= metric.compute() <= 100
    tensor(True)
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self, measure: Any, **options: Any) -> None:
        super().__init__(**options)
        self.measure = specs.make_measure(measure)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]  # torchmetrics declares it a variable
        """Give the measure's direction, which may depend on its protocol."""
        return {"higher": True, "lower": False}.get(self.measure.better)

    def update(
        self,
        box: BlackBox,
        images: Images,
        targets: Sequence[Target] | Int[Tensor, " n"],
        saliencies: Masks,
        truths: Bool[Tensor, "n h w"] | None = None,
    ) -> None:
        """Measure a batch: one target and one map an image, and where the object is, if the measure asks for it."""
        places = [None] * len(images) if truths is None else list(truths)
        aims = targets.tolist() if isinstance(targets, Tensor) else targets
        for image, target, saliency, truth in zip(images, aims, saliencies, places, strict=True):
            value = measure_case(Case(box, image, target, saliency, truth), self.measure).value
            if not math.isnan(value):
                self.total += value
                self.count += 1

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.count
