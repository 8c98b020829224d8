"""SCAAT. Xu, Qin, Huang, Wang and Luo, SCAAT: Improving Neural Network Interpretability via Saliency …, 2023."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import Doc

from salience import registry, specs
from salience.engine import validate
from salience.engine.training.history import Row
from salience.errors import SettingError
from salience.trainers._classifier import training
from salience.trainers._classifier.attack import Attack, Norm
from salience.trainers._classifier.attack_mask import Rule, attack_mask, expect_share
from salience.trainers._classifier.gradients import label_gradients
from salience.trainers._classifier.loss import Batch, Logits, Step, cross_entropy, divergence


@dataclass(frozen=True)
class Scaat(training.ClassifierTrainer):
    """Make the right class likely, and the answer the same wherever pixels that do not matter are moved: sparser maps.

    loss = CE(f(x), y) + λ KL(p(x) ‖ p(x + δ)),   δ makes the divergence as large as |δ_i| ≤ ε w_i allows

    w is 1 on the k of the pixels with the smallest saliency max over channels of |∂f_y / ∂x|, 0 elsewhere; it is found anew
    for every picture and step, and the network is in eval mode while it and δ are computed. Gradients flow through
    both answers. With `mask="all"` this is TRADES, with random colours in place of δ Saliency Guided Training, with
    ε = 0 ordinary training.

    What is known: the paper's body could not be read; its abstract says that adversarial pictures are made under the
    guidance of the saliency map, on any network. This is SCAAT-R, a reconstruction: loss, mask and every default are ours.
    `mask`, `stop`, `warm` are readings of "adaptive": pixels chosen for each picture (always; mean and mass choose their
    number too), a bound graded by pixel (soft, rank), an attack that ends when it has won, bounds that grow.

    Departs from the paper: not known. Cost: T + 3 forward and backward passes, T of them without parameters' gradients.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> loss = Scaat()(module, torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0]))
    >>> loss.backward()
    >>> loss.shape
    torch.Size([])
    """

    mask: Annotated[Rule, Doc("pixels that may move: quantile, mean, mass, soft, rank; controls: all, random, high")] = (
        "quantile"
    )
    share: Annotated[
        float, Doc("k, the share of pixels (quantile, random, high) or of the saliency's sum (mass) that may move")
    ] = 0.8
    epsilon: Annotated[float, Doc("ε, the farthest that a pixel of 0…1 goes; 0.1 for small grey pictures")] = 8 / 255
    attack_steps: Annotated[int, Doc("T; 1 is cheap and has most of the effect")] = 3
    attack_rate: Annotated[float | None, Doc("α, the length of one step; none given: 1.25 ε / T, and ε for one step")] = None
    weight: Annotated[float, Doc("λ, the weight of the second term")] = 1.0
    inner: Annotated[
        Literal["kl", "ce"], Doc("what the attack makes large: the divergence (kl) or the cross-entropy (ce)")
    ] = "kl"
    outer: Annotated[Literal["kl", "ce"], Doc("the second term: KL(p(x) ‖ p(x + δ)), or CE(f(x + δ), y)")] = "kl"
    norm: Annotated[Norm, Doc("how a change is measured: linf, each pixel by itself, or l2, all together")] = "linf"
    stop: Annotated[bool, Doc("leave a picture alone as soon as its attack has changed the class")] = False
    warm: Annotated[float, Doc("the share of the training in which ε and λ grow to their values")] = 0.0
    detach: Annotated[bool, Doc("let no gradient through p(x) in the divergence")] = False
    saliency: Annotated[str, Doc("whose map says what does not matter: gradient, or any method for torch networks")] = (
        "gradient"
    )

    def __post_init__(self) -> None:
        if self.mask not in get_args(Rule):
            raise SettingError(f"expected mask to be one of {', '.join(get_args(Rule))}, got {self.mask!r}")
        for name in ("inner", "outer"):
            if getattr(self, name) not in ("kl", "ce"):
                raise SettingError(f"expected {name} kl or ce, got {getattr(self, name)!r}")
        expect_share(self.share)
        validate.expect_between("weight", self.weight, 0, None)
        validate.expect_between("warm", self.warm, 0, 1)
        self.attack  # noqa: B018  # checks the other settings
        registry.find_method(self.saliency)

    @property
    def attack(self) -> Attack:
        """The search."""
        even = self.inner == "ce" or self.attack_steps == 1
        return Attack(self.epsilon, self.attack_steps, self.attack_rate, self.norm, even=even, stop=self.stop)

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        grown = min(1.0, step.progress / self.warm) if self.warm else 1.0
        with step.looking():
            found, whole = self.find_saliency(step)
            allowed = attack_mask(found, self.mask, self.share, step)
            changed = self.adversary(step, allowed, whole, grown)
        clean, moved = step.pair(changed)
        ce, kl = cross_entropy(clean, step.labels).mean(), divergence(clean.detach() if self.detach else clean, moved).mean()
        second = kl if self.outer == "kl" else cross_entropy(moved, step.labels).mean()
        loss = ce + grown * self.weight * second
        values = {"loss": loss, "ce": ce, "kl": kl, "moved": allowed.mean()}
        return loss, {name: float(each.detach()) for name, each in values.items()}

    def adversary(self, step: Step, allowed: Tensor, whole: Logits, grown: float) -> Batch:
        """Change what may be changed, for the worse."""

        def gain(logits: Logits) -> Tensor:
            return divergence(whole, logits) if self.inner == "kl" else cross_entropy(logits, step.labels)

        return self.attack(step, gain, allowed, grown)

    def find_saliency(self, step: Step) -> tuple[Tensor, Logits]:
        """Return a map of each picture for its label (n h w), and the logits."""
        if self.saliency == "gradient":
            gradients, whole = label_gradients(step)
            return gradients.abs().amax(1), whole
        channels = step.images.shape[1]
        shown = 3 if channels == 1 else channels  # a network of one channel is shown three that are equal
        box: Any = specs.open_box(
            step.module,
            size=tuple(step.images.shape[2:]),
            mean=step.mean if len(step.mean) == shown else step.mean * shown,
            std=step.std if len(step.std) == shown else step.std * shown,
            channels=channels,
            backend="exact",
        )
        method = registry.make_method(self.saliency)
        pixels = (step.images.detach() - step.black) / step.unit
        pixels = pixels.expand(-1, shown, -1, -1)
        maps = [method(box, image, int(label)) for image, label in zip(pixels, step.labels, strict=True)]
        with torch.no_grad():
            return torch.stack(maps).to(step.images).abs(), step.logits(step.images).detach()
