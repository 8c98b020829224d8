"""Integrated gradients. Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from typing_extensions import Doc

from salience.engine import validate
from salience.engine.inside import input_gradients
from salience.engine.perturb import fill
from salience.estimates import BatchedMethod, Estimate
from salience.methods._settings import Channels
from salience.types import Images, OpenBox, Target

Rule = Literal["gauss-legendre", "middle", "trapezoid"]
TOLERABLE = 0.05  # of the change of the score; beyond it the map gets a note


@dataclass(frozen=True)
class IntegratedGradients(BatchedMethod):
    """Integrate the gradients from a baseline to the image: the map distributes the change of the logit.

    saliency = Σ over channels of (x − x₀) · ∫₀¹ ∂logit(x₀ + t (x − x₀)) / ∂x dt

    The map adds up to logit(x) − logit(x₀), but for the error of the sum that stands for the integral: the evidence
    has it as "convergence delta". Cost: a forward and a backward pass a step, and two at the ends.

    Departs from the paper: the baseline is the mean colour, which is 0 in the network's own input; the paper's is
    black. The sum is Gauss's, as in Captum, which needs fewer steps; the paper's is Riemann's, of 20 to 300.

    >>> from salience.boxes import toy
    >>> saliency = IntegratedGradients(steps=8)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    baseline: Annotated[str, Doc("x₀, where the path begins: mean, black, white, grey, blur, noise or 0…1")] = "mean"
    steps: Annotated[int, Doc("how many points of the path are differentiated")] = 50
    rule: Annotated[Rule, Doc("where they lie: gauss-legendre, middle or trapezoid")] = "gauss-legendre"
    channels: Channels = "sum"
    seed: Annotated[int, Doc("for the noise baseline only")] = 0

    def __post_init__(self) -> None:
        input_gradients.expect_choice("rule", self.rule, Rule)
        input_gradients.expect_choice("channels", self.channels, input_gradients.Channels)
        validate.expect_between("steps", self.steps, 2 if self.rule == "trapezoid" else 1, None)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        points, weights = make_quadrature(self.rule, self.steps)
        points, weights = [*points, 0.0, 1.0], [*weights, 0.0, 0.0]  # the ends are passed for their scores
        baselines = torch.stack([fill.make_fill(self.baseline, box, image, self.seed) for image in images])
        gradients, scores = input_gradients.sum_gradients(
            box, images, targets, weights, lambda i, k: torch.lerp(baselines[i], images[i], points[k])
        )
        shares = (images - baselines) * gradients
        changes = scores[:, -1] - scores[:, -2]
        deltas = shares.flatten(1).sum(1) - changes
        estimates = input_gradients.make_estimates(shares, self.channels, passes=len(points))
        return [add_completeness(*each) for each in zip(estimates, changes.tolist(), deltas.tolist(), strict=True)]


def add_completeness(estimate: Estimate, change: float, delta: float) -> Estimate:
    """Add the difference between the map's sum and the change of the score."""
    evidence = {"score change": change, "convergence delta": delta}
    if abs(delta) <= TOLERABLE * abs(change):
        return replace(estimate, evidence=evidence)
    note = f"the map adds up to {change + delta:.3g}, the score changes by {change:.3g}: take more steps"
    return replace(estimate, evidence=evidence, notes=(*estimate.notes, note))


def make_quadrature(rule: Rule, steps: int) -> tuple[list[float], list[float]]:
    """Return points in 0…1 and their weights, which add up to 1."""
    if rule == "gauss-legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return ((1 + points) / 2).tolist(), (weights / 2).tolist()
    if rule == "middle":
        return [(k + 0.5) / steps for k in range(steps)], [1 / steps] * steps
    ends = [0.5 / (steps - 1)]
    return [k / (steps - 1) for k in range(steps)], [*ends, *[1 / (steps - 1)] * (steps - 2), *ends]
