"""SCAAT's step against plain loops, the identities that pin it, and what it leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from salience import registry, specs
from salience.errors import SettingError, UnknownName
from salience.trainers._classifier.attack import Attack
from salience.trainers._classifier.attack_mask import attack_mask
from salience.trainers._classifier.loss import Step, cross_entropy, divergence
from salience.trainers.adversarial import Adversarial
from salience.trainers.gradient_penalty import GradientPenalty
from salience.trainers.plain import Plain
from salience.trainers.saliency_guided import SaliencyGuided, replace_marked
from salience.trainers.scaat import Scaat
from salience.trainers.trades import Trades
from tests.helpers import apart, noise, same

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def net(channels: int = 3, seed: int = 0) -> nn.Module:
    """Make a small smooth network for images of 6 by 6, in double precision."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 3))
    return made.double()


def batch(channels: int = 3, count: int = 4) -> tuple[Tensor, Tensor]:
    """Draw pictures and labels."""
    return noise(count, channels, 6, 6, seed=1), torch.arange(count) % 3


def chances(seed: int = 0) -> torch.Generator:
    """Give a source of chance that is the same again."""
    return torch.Generator().manual_seed(seed)


def gradients(loss: Tensor, module: nn.Module) -> Tensor:
    """Return the gradient of a loss, all parameters in a row."""
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(module.parameters()))])


def test_a_step_is_the_definition_in_plain_loops() -> None:
    """Saliency, mask, attack and loss, picture by picture and pixel by pixel, on normalised images."""
    module, (images, labels) = net(), batch()
    normal = (images - images.new_tensor(MEAN)[:, None, None]) / images.new_tensor(STD)[:, None, None]
    how = Scaat(share=0.5, epsilon=0.1, attack_steps=2, weight=0.7)
    ours = how(module, normal, labels, mean=MEAN, std=STD, generator=chances())
    start = torch.randn(images.shape, generator=chances())
    whole = torch.stack([twin(module, images[i], int(labels[i]), start[i].double()) for i in range(4)]).mean()
    assert float(ours.detach()) == pytest.approx(float(whole.detach()), abs=1e-12)
    assert apart(gradients(ours, module), gradients(whole, module)) < 1e-12


def twin(module: nn.Module, image: Tensor, label: int, start: Tensor) -> Tensor:
    """Return one picture's loss; here pixels are in 0…1 and the network normalises."""

    def logits(pixels: Tensor) -> Tensor:
        channels = [(pixels[c] - MEAN[c]) / STD[c] for c in range(3)]
        found: Tensor = module(torch.stack(channels)[None])[0]
        return found

    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logits(leaf)[label], leaf)
    saliency = [(max(abs(float(gradient[c, y, x])) for c in range(3)), 6 * y + x) for y in range(6) for x in range(6)]
    free = {place for _, place in sorted(saliency)[:18]}
    allowed = torch.tensor([float(place in free) for place in range(36)]).view(6, 6).double()
    change = (image + 0.001 * start * allowed).clamp(0, 1) - image
    p = logits(image).softmax(0).detach()
    for _ in range(2):
        leaf = change.clone().requires_grad_()
        kl = sum(p[k] * (p[k].log() - logits(image + leaf).log_softmax(0)[k]) for k in range(3))
        (gradient,) = torch.autograd.grad(kl, leaf)  # type: ignore[arg-type]  # a sum of tensors
        change = (change + 1.25 * 0.1 / 2 * gradient.sign()).clamp(-0.1, 0.1) * allowed
        change = (image + change).clamp(0, 1) - image
    clean, moved = logits(image).log_softmax(0), logits(image + change).log_softmax(0)
    return -clean[label] + 0.7 * (clean.exp() * (clean - moved)).sum()


def test_with_no_reach_it_is_ordinary_training() -> None:
    """ε = 0: the divergence is 0, and so is its gradient."""
    module, (images, labels) = net(), batch()
    ours, plain = Scaat(epsilon=0)(module, images, labels), Plain()(module, images, labels)
    assert float((ours - plain).detach()) == pytest.approx(0, abs=1e-15)
    assert apart(gradients(ours, module), gradients(plain, module)) < 1e-12


def test_with_all_pixels_free_it_is_trades() -> None:
    """The same start, the same attack, the same loss: after some steps of an optimiser the same weights."""
    module, (images, labels) = net(), batch()
    other = copy.deepcopy(module)
    for how, each in ((Scaat(mask="all", weight=3.0), module), (Trades(weight=3.0), other)):
        optimiser = torch.optim.SGD(each.parameters(), lr=0.1)
        for step in range(5):
            optimiser.zero_grad()
            how(each, images, labels, generator=chances(step)).backward()
            optimiser.step()
    assert all(torch.equal(one, two) for one, two in zip(module.parameters(), other.parameters(), strict=True))


def test_with_colours_by_chance_it_is_saliency_guided_training() -> None:
    """On one channel, where the mean and the maximum over channels are one."""

    class Random(Scaat):
        def adversary(self, step: Step, allowed: Tensor, whole: Tensor, grown: float) -> Tensor:
            return replace_marked(step, allowed)

    module, (images, labels) = net(1), batch(1)
    ours = Random(share=0.5)(module, images, labels, generator=chances())
    assert same(ours.detach(), SaliencyGuided()(module, images, labels, generator=chances()).detach(), 0)


def test_saliency_guided_training_replaces_the_least_salient_pixels() -> None:
    """Half of the places; each channel between its own darkest and brightest; the signed ranking is another one."""
    module, (images, labels) = net(), batch()
    step = Step(module, images, labels, generator=chances())
    shown = replace_marked(step, attack_mask(noise(4, 6, 6, seed=3), "quantile", 0.5, step))
    changed = (shown != images).any(1)
    assert changed.flatten(1).sum(1).tolist() == [18] * 4
    assert bool((shown.amax((2, 3)) <= images.amax((2, 3))).all())
    losses = [
        float(SaliencyGuided(signed=each)(module, images, labels, generator=chances()).detach()) for each in (False, True)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("rule", ["quantile", "mean", "mass", "soft", "rank", "all", "random", "high"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_stays_within_its_bounds(rule: Any, norm: Any) -> None:
    """|δ| ≤ ε w at each pixel (ℓ2: where w is 0 nothing moves, and ε in all), and pixels stay in 0…1."""
    module, (images, labels) = net(), batch()
    step = Step(module, images, labels, generator=chances())
    allowed = attack_mask(noise(4, 6, 6, seed=3), rule, 0.6, step)
    changed = Attack(0.3, 4, norm=norm, even=True)(step, lambda logits: cross_entropy(logits, labels), allowed)
    change = changed - images
    if norm == "linf":
        assert bool((change.abs() <= 0.3 * allowed + 1e-12).all())
    else:
        assert float(change.flatten(1).norm(dim=1).max()) <= 0.3 + 1e-12
        assert bool((change[(allowed == 0).expand_as(change)] == 0).all())
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1


def test_an_attack_gains() -> None:
    """After four steps the divergence is larger than where it began, and larger still with a longer reach."""
    module, (images, labels) = net(), batch()
    whole, free = module(images).detach(), images.new_ones(4, 1, 6, 6)

    def gained(attack: Attack) -> float:
        step = Step(module, images, labels, generator=chances())
        changed = attack(step, lambda logits: divergence(whole, logits), free)
        return float(divergence(whole, module(changed)).mean().detach())

    begun = gained(Attack(0.001, 1, rate=0.0))
    assert begun < gained(Attack(0.05, 4)) < gained(Attack(0.2, 4))


def test_an_attack_that_won_stops() -> None:
    """A picture whose class has changed is left as it is, however many steps follow; without `stop` it moves on."""
    module, (images, labels) = net(), batch()
    with torch.no_grad():
        module[3].weight.mul_(8)  # the last layer: answers that can be changed
    free, first = images.new_ones(4, 1, 6, 6), module(images).argmax(1)

    def found(steps: int, *, stop: bool) -> Tensor:
        step = Step(module, images, labels, generator=chances())
        return Attack(0.8, steps, rate=0.05, stop=stop)(step, lambda logits: cross_entropy(logits, first), free)

    won = module(found(12, stop=True)).argmax(1) != first
    assert bool(won.any())
    assert torch.equal(found(12, stop=True)[won], found(15, stop=True)[won])
    assert not torch.equal(found(12, stop=False)[won], found(15, stop=False)[won])


@pytest.mark.parametrize("rule", ["quantile", "random", "high"])
def test_a_share_of_the_pixels_is_exact_also_on_a_flat_map(rule: Any) -> None:
    """Ties are ranked by place."""
    module, (images, labels) = net(), batch()
    step = Step(module, images, labels, generator=chances())
    for saliency in (torch.zeros(4, 6, 6), noise(4, 6, 6)):
        assert attack_mask(saliency, rule, 0.7, step).flatten(1).sum(1).tolist() == [25] * 4


def test_adaptive_rules_choose_for_each_picture() -> None:
    """Below the mean; the smallest that sum to half; one minus saliency over its maximum; one minus rank."""
    module, (images, labels) = net(), batch(count=1)
    step = Step(module, images, labels)
    saliency = torch.tensor([[[0.0, 1.0, 2.0], [3.0, 4.0, 10.0]]])
    expected = {
        "mean": [1, 1, 1, 1, 0, 0],
        "mass": [1, 1, 1, 1, 1, 0],
        "soft": [1, 0.9, 0.8, 0.7, 0.6, 0],
        "rank": [1, 0.8, 0.6, 0.4, 0.2, 0],
        "all": [1] * 6,
    }
    for rule, values in expected.items():
        found = attack_mask(saliency, rule, 0.5, step).flatten()  # type: ignore[arg-type]  # a rule
        assert found.tolist() == pytest.approx(values)
    assert attack_mask(torch.zeros(1, 2, 3), "soft", 0.5, step).flatten().tolist() == [1] * 6


def test_looking_leaves_the_network_and_chance_alone() -> None:
    """Batch norms' statistics change once a step, by the loss's own pass; no gradient is written; dropout is itself."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)).double()
    images, labels = batch()
    norm: Any = module[1]
    step = Step(module, images, labels, generator=chances())
    with step.looking():
        Scaat().adversary(step, images.new_ones(4, 1, 6, 6), module(images).detach(), 1.0)
    assert norm.num_batches_tracked == 0
    assert all(each.grad is None for each in module.parameters())
    assert all(each.training for each in module.modules())
    state = torch.get_rng_state()
    with step.looking():
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    Scaat()(module, images, labels)
    assert norm.num_batches_tracked == 1


def test_chance_is_another_in_every_step_and_the_same_again_under_a_seed() -> None:
    """Without a generator it comes from torch's own, which must move on although looking puts it back."""
    module, (images, labels) = net(), batch()
    how = Adversarial()
    torch.manual_seed(3)
    first, second = (float(how(module, images, labels).detach()) for _ in range(2))
    torch.manual_seed(3)
    assert first == float(how(module, images, labels).detach())
    assert first != second


def test_ce_inside_and_outside_and_a_warm_up() -> None:
    """CE + λ CE of the changed pictures; half-way through a warm-up, half of λ on half of ε."""
    module, (images, labels) = net(), batch()
    how = Scaat(inner="ce", outer="ce", epsilon=0.1, weight=2.0, warm=0.5)
    step = Step(module, images, labels, progress=0.25, generator=chances())
    loss, row = how.step(step)
    with step.looking():
        again = Step(module, images, labels, generator=chances())
        found, whole = how.find_saliency(again)
        changed = how.adversary(again, attack_mask(found, "quantile", 0.8, again), whole, 0.5)
    expected = cross_entropy(module(images), labels).mean() + 0.5 * 2.0 * cross_entropy(module(changed), labels).mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
    assert float((changed - images).abs().max()) <= 0.05 + 1e-12
    assert row["moved"] == pytest.approx(int(0.8 * 36) / 36)


def test_any_method_may_say_what_does_not_matter() -> None:
    """`gradient` by its name and through a box is the same map; another gives another mask."""
    module, (images, labels) = net(), batch()
    step = Step(module, images, labels, mean=MEAN, std=STD, generator=chances())
    with step.looking():
        ours, _ = Scaat().find_saliency(step)
        box = specs.open_box(module, size=6, mean=MEAN, std=STD, backend="exact")
        pixels = (images - step.black) / step.unit
        theirs = torch.stack([registry.make_method("gradient")(box, pixels[i], int(labels[i])) for i in range(4)])
        other, _ = Scaat(saliency="input-x-gradient").find_saliency(step)
    assert apart(ours, theirs) < 1e-12
    assert apart(ours, other) > 1e-3


def test_a_gradient_penalty_is_the_slope_of_the_loss() -> None:
    """CE + λ times the mean over pictures of Σ |∂CE / ∂pixel|, by differences."""
    module, (images, labels) = net(), batch(count=2)
    ours = GradientPenalty(weight=0.3)(module, images, labels)
    steep = 0.0
    for i in range(2):
        for at in range(3 * 36):
            apart_by = torch.zeros(3 * 36, dtype=torch.float64)
            apart_by[at] = 1e-5
            near = [images[i] + sign * apart_by.view(3, 6, 6) for sign in (1, -1)]
            losses = [float(functional.cross_entropy(module(each[None]), labels[i : i + 1]).detach()) for each in near]
            steep += abs(losses[0] - losses[1]) / 2e-5 / 2
    plain = float(Plain()(module, images, labels).detach())
    assert float(ours.detach()) == pytest.approx(plain + 0.3 * steep, abs=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_it_takes_what_networks_take(channels: int, last: bool) -> None:
    """One channel and three, one picture, channels first and last, in single precision."""
    module, (images, labels) = net(channels).float(), batch(channels, 1)
    images = images.float().contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    for name in ("plain", "scaat", "saliency-guided", "adversarial", "trades", "gradient-penalty"):
        loss = registry.make_trainer(name)(module, images, labels)
        loss.backward()
        assert bool(torch.isfinite(loss))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mask": "low"}, "expected mask to be one of quantile"),
        ({"share": 1.5}, "share ≤ 1, got 1.5"),
        ({"inner": "mse"}, "expected inner kl or ce"),
        ({"attack_steps": 0}, "attack_steps.* got 0"),
        ({"epsilon": -1}, "epsilon.* got -1"),
        ({"norm": "l1"}, "expected norm linf or l2"),
        ({"warm": 2}, "warm.* got 2"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], said: str) -> None:
    """Before any training begins."""
    with pytest.raises(SettingError, match=said):
        Scaat(**settings)


def test_wrong_batches_are_named() -> None:
    """What was expected, and what came."""
    module, (images, labels) = net(), batch()
    with pytest.raises(SettingError, match="expected images .n c h w. of floats, got torch.uint8"):
        Plain()(module, (images * 255).byte(), labels)
    with pytest.raises(SettingError, match="expected a class index for each of 4 images"):
        Plain()(module, images, labels[:2])
    with pytest.raises(SettingError, match="expected mean of 1 or 3 numbers, got 2"):
        Plain()(module, images, labels, mean=(0.1, 0.2))
    with pytest.raises(UnknownName, match="gradient"):
        Scaat(saliency="gradeint")
