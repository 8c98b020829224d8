"""Ordinary training, which all others are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from salience.engine.training.history import Row
from salience.trainers._classifier import training
from salience.trainers._classifier.loss import Step, cross_entropy


@dataclass(frozen=True)
class Plain(training.ClassifierTrainer):
    """Make the right class likely.

    loss = CE(f(x), y)

    Departs: in nothing. Cost: one forward and one backward pass.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> loss = Plain()(module, torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0]))
    >>> loss.backward()
    >>> loss.shape
    torch.Size([])
    """

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        loss = cross_entropy(step.logits(step.images), step.labels).mean()
        return loss, {"loss": float(loss.detach())}
