"""Guided backpropagation against its definition, and every way of writing a ReLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from salience.boxes.torch import TorchBox
from salience.errors import BoxError, SettingError
from salience.methods._guided_relu import GuidedRelu
from salience.methods.gradient import Gradient
from salience.methods.guided_backprop import GuidedBackprop
from salience.picture import Preparation
from tests.helpers import noise, same

SIZE = (6, 9)
IMAGE = noise(3, *SIZE)


class ByHand(torch.autograd.Function):
    """A ReLU whose gradient is written out as in the paper."""

    @staticmethod
    def forward(ctx: Any, given: Tensor) -> Tensor:
        ctx.save_for_backward(given)
        return torch.where(given > 0, given, 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (given,) = ctx.saved_tensors
        return gradient * (gradient > 0) * (given > 0)


class Net(nn.Module):
    """Convolutions with a skip connection between; the rectifier, one for all, is given."""

    def __init__(self, rectify: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.end = nn.Linear(4 * SIZE[0] * SIZE[1], 3)
        self.rectify = rectify
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        """Rectify twice."""
        before = self.rectify(self.first(images))
        after = self.second(before)
        after += before
        return self.end(self.rectify(after).flatten(1))


def boxed(module: nn.Module) -> TorchBox:
    """Make a box without normalisation."""
    return TorchBox(module, Preparation(SIZE), "abc", backend="exact")


def gradient(rectify: Callable[[Tensor], Tensor], aim: Callable[[Tensor], Tensor]) -> Tensor:
    """Differentiate what `aim` makes of the logits."""
    leaf = IMAGE[None].clone().requires_grad_()
    return torch.autograd.grad(aim(Net(rectify)(leaf)[0]), leaf)[0][0]


KNOWN = gradient(ByHand.apply, lambda logits: logits[1])
RELUS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "function": functional.relu,
    "function in place": lambda x: functional.relu(x, inplace=True),
    "functional.relu_": functional.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp at a place": lambda x: torch.clamp(x, 0),
    "clamp_min": lambda x: x.clamp_min(0),
    "module relu6": nn.ReLU6(inplace=True),  # nothing here reaches 6
    "relu6": functional.relu6,
    "hardtanh": lambda x: functional.hardtanh(x, 0, 100),
    "hardtanh_": lambda x: functional.hardtanh_(x, 0.0, 100.0),
}


def test_a_net_with_one_relu_equals_the_definition_by_hand() -> None:
    """The weights of the class, without the negative ones, where the ReLU lets through, back through the filter."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 7, 3)).double()
    found = GuidedBackprop("sum")(boxed(net), IMAGE, 1)
    weights, filters, active = net[3].weight[1].view(4, 4, 7), net[0].weight, net[0](IMAGE[None])[0] > 0
    known = torch.zeros(SIZE, dtype=torch.float64)
    for channel in range(4):
        for y in range(4):
            for x in range(7):
                if weights[channel, y, x] > 0 and active[channel, y, x]:
                    known[y : y + 3, x : x + 3] += (weights[channel, y, x] * filters[channel].sum(0)).detach()
    assert same(found, known)


@pytest.mark.parametrize("kind", RELUS)
def test_however_a_relu_is_written_it_is_held(kind: str) -> None:
    """Used twice, in place after a skip connection, as a module or not."""
    assert same(GuidedBackprop("sum")(boxed(Net(RELUS[kind])), IMAGE, 1), KNOWN.sum(0))
    assert same(GuidedBackprop()(boxed(Net(RELUS[kind])), IMAGE, 1), KNOWN.abs().amax(0))
    assert not same(gradient(RELUS[kind], lambda logits: logits[1]), KNOWN, 1e-3)


def test_an_exported_network_is_held_too() -> None:
    """It has no modules, and calls operators under names of their own."""
    for kind in ("module in place", "module relu6"):
        exported = torch.export.export(Net(RELUS[kind]).eval(), (IMAGE[None],)).module()
        assert same(GuidedBackprop("sum")(boxed(exported), IMAGE, 1), KNOWN.sum(0))


def test_a_contrast_is_the_guided_slope_of_the_difference() -> None:
    """Not the difference of two guided gradients."""
    found = GuidedBackprop("sum")(boxed(Net(nn.ReLU())), IMAGE, (1, 0))
    assert same(found, gradient(ByHand.apply, lambda logits: logits[1] - logits[0]).sum(0))
    other = KNOWN - gradient(ByHand.apply, lambda logits: logits[0])
    assert not same(found, other.sum(0), 1e-3)


def test_many_images_and_many_targets_give_the_maps_of_each_alone() -> None:
    """One target an image, or several of one image, whose ReLUs are met once."""
    box, aims, images = boxed(Net(nn.ReLU(inplace=True))), [0, 1, (2, 0)], torch.stack([IMAGE, IMAGE.flip(1), IMAGE.flip(2)])
    each, several = GuidedBackprop().many(box, images, aims), GuidedBackprop().many(box, images[:1], aims)
    for number, aim in enumerate(aims):
        assert same(each[number].saliency, GuidedBackprop()(box, images[number], aim))
        assert same(several[number].saliency, GuidedBackprop()(box, images[0], aim))


@pytest.mark.parametrize(
    "rectify",
    [nn.Identity(), nn.GELU(), nn.LeakyReLU(), nn.Hardtanh(), lambda x: x.clamp(max=6), lambda x: x.clamp(1e-6)],
    ids=["identity", "gelu", "leaky", "hardtanh", "clamp above", "clamp below"],
)
def test_a_network_without_relus_is_refused(rectify: Any) -> None:
    """What lets negative values through, or is cut elsewhere than at 0, is no ReLU."""
    with pytest.raises(
        BoxError, match="expected a network with ReLUs for guided backprop, got none in Net: use gradient or smooth-grad"
    ):
        GuidedBackprop()(boxed(Net(rectify)), IMAGE, 1)


def test_nothing_is_left_behind_also_after_an_error() -> None:
    """The network's own gradient comes out afterwards, and it has no hooks."""

    def tired(given: Tensor) -> Tensor:
        raise ValueError("tired")

    box = boxed(Net(nn.ReLU(inplace=True)))
    plain = Gradient("sum")(box, IMAGE, 1)
    GuidedBackprop()(box, IMAGE, 1)
    with pytest.raises(BoxError, match="tired"):
        GuidedBackprop()(boxed(Net(tired)), IMAGE, 1)
    assert torch.overrides._get_current_function_mode() is None
    assert same(Gradient("sum")(box, IMAGE, 1), plain)
    assert not any(each._forward_hooks or each._backward_hooks for each in box.module.modules())


def test_what_needs_no_gradient_is_left_alone() -> None:
    """A ReLU on constants has no gradient to hold."""
    with GuidedRelu() as held:
        torch.relu(torch.ones(2))
        torch.relu(torch.ones(2, requires_grad=True))
    assert held.count == 1


def test_settings_out_of_range_are_refused() -> None:
    """In one sentence."""
    with pytest.raises(SettingError, match="expected channels, one of max-abs, sum-abs, sum, got 'mean'"):
        GuidedBackprop("mean")
