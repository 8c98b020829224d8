"""Input-gradient penalty. Drucker and LeCun 1992; Ross and Doshi-Velez, AAAI 2018."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from salience.engine import probe
from salience.engine.fit import Row
from salience.trainers import _classifier
from salience.trainers._step import Step, crossed


@dataclass(frozen=True)
class GradientPenalty(_classifier.Trains):
    """Make the right class likely, and the loss flat: what SCAAT's adversary does on the pixels it may touch, spelt out.

    loss = CE(f(x), y) + λ · mean Σ |∂ CE / ∂ pixel|

    Pixels are in 0…1, whatever normalisation the images have. The slope is differentiated again, so each operation of
    the network must allow it.

    Departs from the papers: the ℓ1 norm in place of the squared ℓ2 norm, which is the one that an adversary within a box
    amounts to. Cost: two forward and backward passes, and their memory.
    """

    weight: float = 0.01  # λ, the weight of the slope

    def __post_init__(self) -> None:
        probe.expect_between("weight", self.weight, 0, None)

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        leaf = step.images.detach().clone().requires_grad_()
        losses = crossed(step.logits(leaf), step.labels)
        (slope,) = torch.autograd.grad(losses.sum(), leaf, create_graph=True)
        ce, steep = losses.mean(), (slope * step.unit).abs().flatten(1).sum(1).mean()
        loss = ce + self.weight * steep
        return loss, {"loss": float(loss.detach()), "ce": float(ce.detach()), "slope": float(steep.detach())}
