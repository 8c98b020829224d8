"""Adversarial training. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from typing_extensions import Doc

from salience.engine.training.history import Row
from salience.trainers._classifier import training
from salience.trainers._classifier.attack import Attack
from salience.trainers._classifier.loss import Step, cross_entropy


@dataclass(frozen=True)
class Adversarial(training.ClassifierTrainer):
    """Learn from pictures that were changed to make the network wrong (PGD; FGSM with one step).

    loss = CE(f(x + δ), y),   δ makes it as large as |δ| ≤ ε allows

    The search begins evenly within the bounds and takes signs of gradients; one step of length ε is the fast gradient sign
    method (Goodfellow et al., ICLR 2015) with that beginning.

    Departs from the paper: the attack looks at the network in eval mode; three steps, for a small machine, where the
    authors take 10 (CIFAR-10) and 40 (MNIST). Cost: T + 1 forward and backward passes.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> loss = Adversarial(attack_steps=1)(module, torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0]))
    >>> loss.backward()
    >>> loss.shape
    torch.Size([])
    """

    epsilon: Annotated[float, Doc("ε, the farthest that a pixel of 0…1 goes")] = 8 / 255
    attack_steps: Annotated[int, Doc("T; 1 is FGSM")] = 3
    attack_rate: Annotated[float | None, Doc("α, the length of one step; none given: 1.25 ε / T, and ε for one step")] = None

    def __post_init__(self) -> None:
        self.attack  # noqa: B018  # checks the settings

    @property
    def attack(self) -> Attack:
        """The search."""
        return Attack(self.epsilon, self.attack_steps, self.attack_rate, even=True)

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        everywhere = step.images.new_ones(len(step.images), 1, *step.images.shape[2:])
        with step.looking():
            changed = self.attack(step, lambda logits: cross_entropy(logits, step.labels), everywhere)
        loss = cross_entropy(step.logits(changed), step.labels).mean()
        return loss, {"loss": float(loss.detach())}
