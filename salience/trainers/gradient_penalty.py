"""Input-gradient penalty. Drucker and LeCun 1992; Ross and Doshi-Velez, AAAI 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from typing_extensions import Doc

from salience.engine import validate
from salience.engine.training.history import Row
from salience.trainers._classifier import training
from salience.trainers._classifier.loss import Step, cross_entropy


@dataclass(frozen=True)
class GradientPenalty(training.ClassifierTrainer):
    """Make the right class likely, and the loss flat: what SCAAT's adversary does on the pixels it may touch, spelt out.

    loss = CE(f(x), y) + λ · mean Σ |∂ CE / ∂ pixel|

    Pixels are in 0…1, whatever normalisation the images have. The gradient is differentiated again, so each operation of
    the network must allow it.

    Departs from the papers: the ℓ1 norm in place of the squared ℓ2 norm, which is the one that an adversary within a box
    amounts to. Cost: two forward and backward passes, and their memory.

    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> loss = GradientPenalty(weight=0.1)(module, torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0]))
    >>> loss.backward()
    >>> loss.shape
    torch.Size([])
    """

    weight: Annotated[float, Doc("λ, the weight of the gradient")] = 0.01

    def __post_init__(self) -> None:
        validate.expect_between("weight", self.weight, 0, None)

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        leaf = step.images.detach().clone().requires_grad_()
        losses = cross_entropy(step.logits(leaf), step.labels)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf, create_graph=True)
        ce, steep = losses.mean(), (gradient * step.unit).abs().flatten(1).sum(1).mean()
        loss = ce + self.weight * steep
        return loss, {"loss": float(loss.detach()), "ce": float(ce.detach()), "gradient": float(steep.detach())}
