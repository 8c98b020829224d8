"""TRADES. Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from typing_extensions import Doc

from salience.engine import validate
from salience.engine.training.history import Row
from salience.trainers._classifier import training
from salience.trainers._classifier.attack import Attack
from salience.trainers._classifier.loss import Step, cross_entropy, divergence


@dataclass(frozen=True)
class Trades(training.ClassifierTrainer):
    """Make the right class likely, and the answer the same wherever the picture is moved a little.

    loss = CE(f(x), y) + β KL(p(x) ‖ p(x + δ)),   δ makes the divergence as large as |δ| ≤ ε allows

    Gradients flow through both answers.

    Departs from the authors' code: both halves run in one pass, so that they share a batch norm's statistics; β = 1 and
    three steps, as SCAAT's control, where they take 6 and 10. Cost: T + 2 forward and backward passes.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> loss = Trades()(module, torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0]))
    >>> loss.backward()
    >>> loss.shape
    torch.Size([])
    """

    epsilon: Annotated[float, Doc("ε, the farthest that a pixel of 0…1 goes")] = 8 / 255
    attack_steps: Annotated[int, Doc("T")] = 3
    attack_rate: Annotated[float | None, Doc("α, the length of one step; none given: 1.25 ε / T, and ε for one step")] = None
    weight: Annotated[float, Doc("β, the weight of the divergence")] = 1.0

    def __post_init__(self) -> None:
        self.attack  # noqa: B018  # checks the settings
        validate.expect_between("weight", self.weight, 0, None)

    @property
    def attack(self) -> Attack:
        """The search."""
        return Attack(self.epsilon, self.attack_steps, self.attack_rate)

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        everywhere = step.images.new_ones(len(step.images), 1, *step.images.shape[2:])
        with step.looking():
            whole = step.logits(step.images).detach()
            changed = self.attack(step, lambda logits: divergence(whole, logits), everywhere)
        clean, moved = step.pair(changed)
        ce, kl = cross_entropy(clean, step.labels).mean(), divergence(clean, moved).mean()
        loss = ce + self.weight * kl
        return loss, {"loss": float(loss.detach()), "ce": float(ce.detach()), "kl": float(kl.detach())}
