"""The worst that can be done to a batch of images within bounds. Madry et al., ICLR 2018; Zhang et al., ICML 2019."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import validate
from salience.errors import SettingError
from salience.trainers._classifier.loss import Batch, Logits, Step

Gain = Callable[[Logits], Float[Tensor, " n"]]
"""What the adversary makes large, for each image."""

Norm = Literal["linf", "l2"]
SLIGHT = 0.001  # of a pixel's range: where a divergence is 0 its gradient is too, so a search for it must begin beside it


@dataclass(frozen=True)
class Attack:
    """How far, how often, how fast, and from where."""

    epsilon: float
    steps: int
    rate: float | None = None  # of one step; None: 1.25 ε / steps, and ε for one step
    norm: Norm = "linf"
    even: bool = False  # begin anywhere within the bounds, evenly; otherwise just beside the image
    stop: bool = False  # leave an image alone as soon as another class is the likeliest

    def __post_init__(self) -> None:
        validate.expect_between("epsilon", self.epsilon, 0, None)
        validate.expect_between("attack_steps", self.steps, 1, None)
        if self.norm not in ("linf", "l2"):
            raise SettingError(f"expected norm linf or l2, got {self.norm!r}")

    @property
    def step_length(self) -> float:
        """The length of one step."""
        usual = self.epsilon if self.steps == 1 else 1.25 * self.epsilon / self.steps
        return usual if self.rate is None else self.rate

    def __call__(self, step: Step, gain: Gain, allowed: Float[Tensor, "n 1 h w"], scale: float = 1.0) -> Batch:
        """Return the batch, changed by at most `scale` ε `allowed` at each pixel (ℓ2: by `scale` ε in all) to raise `gain`.

        The network must be in eval mode; nothing but the change is differentiated.
        """
        images, first = step.images.detach(), None
        change = step.within(images + self.start(step, allowed, scale) * step.unit) - images
        for _ in range(self.steps if self.epsilon * scale > 0 else 0):
            leaf = change.detach().requires_grad_()
            logits = step.logits(images + leaf)
            (gradient,) = torch.autograd.grad(gain(logits).sum(), leaf)
            first = logits.argmax(1) if first is None else first
            moved = step.within(
                images + self.take_step(change / step.unit, gradient * step.unit, allowed, scale) * step.unit
            )
            done = (logits.argmax(1) != first)[:, None, None, None] & self.stop
            change = torch.where(done, change, moved - images)
        return (images + change).detach()

    def start(self, step: Step, allowed: Float[Tensor, "n 1 h w"], scale: float) -> Batch:
        """Sample where the search starts, in units of a pixel."""
        reach = self.epsilon * scale
        if self.even:
            offset = reach * (2 * step.uniform(*step.images.shape) - 1)
        else:  # half precision would round so slight a change away
            half = torch.is_autocast_enabled(step.images.device.type)
            offset = min(reach, reach / 2 if half else SLIGHT) * step.normal(*step.images.shape)
        return self.bound(allowed * offset, allowed, reach)

    def take_step(self, change: Batch, gradient: Batch, allowed: Float[Tensor, "n 1 h w"], scale: float) -> Batch:
        """Take one step uphill, and come back to the bounds."""
        if self.norm == "linf":
            return self.bound(change + scale * self.step_length * allowed * gradient.sign(), allowed, self.epsilon * scale)
        uphill = allowed * gradient
        return self.bound(change + scale * self.step_length * uphill / length(uphill), allowed, self.epsilon * scale)

    def bound(self, change: Batch, allowed: Float[Tensor, "n 1 h w"], reach: float) -> Batch:
        """Bring a change back to where it may be."""
        if self.norm == "linf":
            return torch.maximum(torch.minimum(change, reach * allowed), -reach * allowed)
        return change * (reach / length(change)).clamp(max=1)


def length(change: Batch) -> Float[Tensor, "n 1 1 1"]:
    """Return the Euclidean length of each image's change, never 0."""
    found: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)
    return found.clamp(min=1e-12)[:, None, None, None]
