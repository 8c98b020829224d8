"""SISE and Ada-SISE against their definition, word by word in plain loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from salience.boxes.torch import TorchBox
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError, UnknownName
from salience.methods import _sise
from salience.methods.ada_sise import AdaSise
from salience.methods.sise import Sise
from salience.picture import Preparation
from tests.engine.perturb.test_feature_masks import slow_otsu
from tests.helpers import noise, same

IMAGE = noise(3, 16, 16)


def network(*, inplace: bool = False) -> nn.Sequential:
    """Make three blocks with poolings between them."""
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for given, gives in ((3, 6), (6, 8), (8, 10)):
        layers += [nn.Conv2d(given, gives, 3, padding=1), nn.ReLU(inplace), nn.MaxPool2d(2)]
    net = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4)).double()
    with torch.no_grad():
        net[-1].weight.mul_(30)
    return net


def box_of(net: nn.Module) -> TorchBox:
    """Make a box of it that normalises by 0.4 and 0.3."""
    grey, spread = (0.4,) * 3, (0.3,) * 3
    return TorchBox(net, Preparation((16, 16), None, "bilinear", grey, spread), "abcd", name="net", backend="exact")


def slow_sise(net: nn.Sequential, image: Tensor, target: int, mu: float | None, gate: str) -> Tensor:
    """Equations 3 to 11, one mask at a time; μ None: Ada-SISE's rule."""
    x = ((image - 0.4) / 0.3)[None].requires_grad_()
    acts, value = [], x
    for number, layer in enumerate(net):
        value = layer(value)
        if number in (1, 4, 7):
            acts.append(value)
    gradients = torch.autograd.grad(value.softmax(1)[0, target], acts)
    merged: Tensor | None = None
    for maps, gradient in zip(acts, gradients, strict=True):
        alphas = [float(gradient[0, k].mean()) for k in range(gradient.shape[1])]
        best = max(alphas)
        tau = mu
        if tau is None:
            positive = [alpha / best for alpha in alphas if alpha > 0]
            tau = slow_otsu(positive) if len(positive) > 2 else 0.0
        total, used = torch.zeros(16, 16, dtype=torch.float64), 0
        for k, alpha in enumerate(alphas):
            mask = functional.interpolate(maps[:, k : k + 1].detach(), size=(16, 16), mode="bilinear")[0, 0]
            if alpha <= tau * best or float(mask.max() - mask.min()) < 1e-6:
                continue
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            score = float(net(x.detach() * mask).detach().softmax(1)[0, target])
            total += score * mask / mask.sum()
            used += 1
        v = total / used
        v = (v - v.min()) / (v.max() - v.min())
        if merged is None:
            merged = v
            continue
        t = slow_otsu(v.flatten().tolist())
        if gate == "soft" and int((v > 1.5 * t).sum()) < 0.1 * v.numel():
            t *= 1.5
        merged = (merged + v) * ((v > t).double() if gate == "hard" else 1 / (1 + torch.exp(-100 * (v - t))))
    assert merged is not None
    return merged / merged.max()


@pytest.mark.parametrize("gate", ["hard", "soft"])
@pytest.mark.parametrize("mu", [0.0, 0.3, None])
@pytest.mark.parametrize("target", [0, 2])
def test_sise_equals_its_definition_in_plain_loops(gate: str, mu: float | None, target: int) -> None:
    """Selection, masks, scores divided by area, the cascade; hidden pixels are 0 in the network's own space."""
    method = AdaSise(gate=gate) if mu is None else Sise(mu, gate=gate)
    found = method(box_of(network()), IMAGE, target)
    assert float(found.max()) == 1
    assert same(found, slow_sise(network(), IMAGE, target, mu, gate).float(), 1e-6)


def found(method: Any, box: TorchBox, **limits: Any) -> tuple[Any, int]:
    """Run and return what was found, and the passes."""
    with start_run(**limits) as run:
        return method.many(box, IMAGE[None], [1])[0], run.passes


def test_in_place_activations_change_nothing() -> None:
    """A ReLU that writes into its input would overwrite what was read."""
    maps = [Sise()(box_of(network(inplace=inplace)), IMAGE, 1) for inplace in (False, True)]
    assert torch.equal(*maps)


def test_the_record_says_what_each_block_gave() -> None:
    """Layer, channels, chosen maps, threshold; and what it cost."""
    why, passes = found(Sise(0.3), box_of(network()))
    blocks = why.evidence["blocks"]
    assert [(each["layer"], each["channels"], each["threshold"]) for each in blocks] == [
        ("1", 6, 0.3), ("4", 8, 0.3), ("7", 10, 0.3),
    ]  # fmt: skip
    assert passes == 1 + sum(each["masks"] for each in blocks)
    assert why.evidence["block maps"].shape == (3, 16, 16)


def test_the_support_lies_in_the_last_gate() -> None:
    """Whatever shallower blocks say."""
    why, _ = found(Sise(), box_of(network()))
    last = why.evidence["block maps"][-1]
    threshold = slow_otsu(last.flatten().tolist())
    assert not bool((why.saliency > 0)[last <= threshold].any())


def test_a_higher_mu_takes_fewer_masks_and_ada_chooses_its_own() -> None:
    """μ = 1 leaves none, and says so."""
    passes = [found(Sise(mu), box_of(network()))[1] for mu in (0.0, 0.3, 0.6)]
    assert passes[0] > passes[1] >= passes[2] > 1
    assert 1 < found(AdaSise(), box_of(network()))[1] <= passes[0]
    why, _ = found(Sise(1.0), box_of(network()))
    assert float(why.saliency.abs().max()) == 0
    assert "block 7 has no map with a positive gradient and was left out" in why.notes


def test_the_cascade_is_the_worked_one() -> None:
    """The strong pixel of the first two blocks is lost to the last gate."""
    how = _sise.SemanticSampling(lambda _: 0.0, "hard", None, False, "mean")
    one, two, three = (
        torch.tensor(each, dtype=torch.float64)
        for each in ([[0.2, 0.9], [0, 1]], [[0.1, 0.8], [0, 1]], [[0, 1], [0.1, 0.2]])
    )
    merged = (one + two) * how.make_gate(two)
    assert same(merged, torch.tensor([[0, 1.7], [0, 2]], dtype=torch.float64))
    assert same((merged + three) * how.make_gate(three), torch.tensor([[0, 2.7], [0, 0]], dtype=torch.float64))
    assert same(how.make_gate(torch.full((2, 2), 0.5)), torch.ones(2, 2))


def test_a_small_budget_keeps_the_maps_of_greatest_gradient() -> None:
    """In each block its share; one that does not allow a map a block is refused."""
    why, passes = found(Sise(), box_of(network()), budget=8)
    assert passes <= 8
    assert all(each["masks"] >= 1 for each in why.evidence["blocks"])
    with pytest.raises(BudgetError, match="expected a budget of at least 4 passes for the masks of 3 blocks"):
        found(Sise(), box_of(network()), budget=3)


def test_several_targets_share_the_passes_of_masks_they_share() -> None:
    """Each map is what it is alone; the box is asked less: for the lots of four in which a mask is new."""
    box, calls = box_of(network()), []
    box.module.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    alone = [Sise()(box, IMAGE, target) for target in (0, 1, 2)]
    spent = sum(calls)
    together = Sise().many(box, IMAGE[None], [0, 1, 2])
    assert sum(calls) - spent < 0.9 * spent
    assert all(same(one.saliency, other, 1e-6) for one, other in zip(together, alone, strict=True))


def test_layers_may_be_chosen() -> None:
    """By name; one that is not there is named with close matches."""
    why, _ = found(Sise(layers="4, 7"), box_of(network()))
    assert [each["layer"] for each in why.evidence["blocks"]] == ["4", "7"]
    with pytest.raises(UnknownName, match="expected the name of a layer, got '77'"):
        found(Sise(layers="77"), box_of(network()))


@pytest.mark.parametrize(
    ("settings", "words"), [({"mu": 1.5}, "expected 0 ≤ mu ≤ 1, got 1.5"), ({"gate": "lax"}, "expected gate hard or soft")]
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], words: str) -> None:
    """In one sentence."""
    with pytest.raises(SettingError, match=words):
        Sise(**settings)
