"""The methods that weigh feature maps by gradients, against their definitions."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes.torch import TorchBox
from salience.engine.query.run import start_run
from salience.errors import BoxError, SettingError, UnknownName
from salience.methods import grad_cam_plus_plus, xgrad_cam
from salience.methods.cam import Cam
from salience.methods.grad_cam import GradCam
from salience.methods.grad_cam_plus_plus import GradCamPlusPlus
from salience.methods.hires_cam import HiresCam
from salience.methods.layer_cam import LayerCam
from salience.methods.xgrad_cam import XgradCam
from salience.picture import Preparation
from tests.helpers import apart, noise

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = noise(3, 8, 8)
CLOSE = 1e-6  # of the largest value: feature maps are weighed in float32


def network(*head: nn.Module, stride: int = 2) -> nn.Sequential:
    """Make two convolutions and a head in double precision; by default a head that is not linear."""
    torch.manual_seed(
        268
    )  # every map of layer 3 is zero at some places and not at others, Grad-CAM's sum below zero at some
    bent = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 3))
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1, stride=stride), nn.ReLU(), *(head or bent)
    ).double()  # fmt: skip  # a column of layers would fill the page


def pooled() -> nn.Sequential:
    """Make a network that averages its last maps and weighs them by a linear layer."""
    return network(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3), stride=1)


def boxed(module: nn.Module) -> TorchBox:
    """Make a box for 8×8 images."""
    return TorchBox(module, Preparation((8, 8)), "abc", backend="exact")


def inside(net: nn.Sequential, layer: int, target: int) -> tuple[Tensor, Tensor]:
    """Return activations and gradients of one layer, by hand."""
    maps = net[: layer + 1](IMAGE[None]).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(net[layer + 1 :](maps)[0, target], maps)
    return maps[0].detach(), gradients[0]


def slow_enlarged(small: Tensor, side: int = 8) -> Tensor:
    """Enlarge bilinearly, pixel by pixel: pixel centres lie at half numbers, and the border goes on beyond itself."""
    rows, columns = small.shape
    large = torch.zeros(side, side, dtype=small.dtype)
    for y in range(side):
        for x in range(side):
            down = min(max((y + 0.5) * rows / side - 0.5, 0), rows - 1)
            right = min(max((x + 0.5) * columns / side - 0.5, 0), columns - 1)
            for row in (floor(down), floor(down) + 1):
                for column in (floor(right), floor(right) + 1):
                    if row < rows and column < columns:
                        large[y, x] += (1 - abs(down - row)) * (1 - abs(right - column)) * small[row, column]
    return large


def grad_cam(a: list[float], g: list[float], u: int) -> float:
    """Average the gradients."""
    return sum(g) / len(g)


def cam(a: list[float], g: list[float], u: int) -> float:
    """Add the gradients up."""
    return sum(g)


def plus_plus(a: list[float], g: list[float], u: int) -> float:
    """Weigh the positive gradients by the paper's closed form."""
    below = [2 * each**2 + sum(a) * each**3 for each in g]
    return sum(each**2 / under * max(each, 0) for each, under in zip(g, below, strict=True) if under != 0)


def xgrad(a: list[float], g: list[float], u: int) -> float:
    """Average the gradients by activation."""
    return sum(x * y for x, y in zip(a, g, strict=True)) / sum(a) if sum(a) != 0 else 0.0


def hires(a: list[float], g: list[float], u: int) -> float:
    """Take the gradient of the place."""
    return g[u]


def layer_cam(a: list[float], g: list[float], u: int) -> float:
    """Take the gradient of the place where it is positive."""
    return max(g[u], 0)


TWINS: list[tuple[type[Any], Callable[[list[float], list[float], int], float]]] = [
    (GradCam, grad_cam), (Cam, cam), (GradCamPlusPlus, plus_plus),
    (XgradCam, xgrad), (HiresCam, hires), (LayerCam, layer_cam),
]  # fmt: skip  # a column of pairs would fill the page
every = pytest.mark.parametrize("method", [method for method, _ in TWINS])


def slow(weigh: Callable[[list[float], list[float], int], float], maps: Tensor, gradients: Tensor) -> Tensor:
    """Weigh map after map at place after place."""
    small = torch.zeros(maps.shape[1:], dtype=maps.dtype)
    for k in range(len(maps)):
        a, g = maps[k].flatten().tolist(), gradients[k].flatten().tolist()
        for u in range(len(a)):
            small.view(-1)[u] += weigh(a, g, u) * a[u]
    return small


@pytest.mark.parametrize(("method", "weigh"), TWINS)
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_map_equals_its_definition_in_plain_loops(method: Any, weigh: Any, layer: int) -> None:
    """Before a ReLU, where maps have both signs, and behind it; for each class."""
    net = network()
    for target in range(3):
        twin = slow(weigh, *inside(net, layer, target))
        found = method(layer=str(layer))(boxed(net), IMAGE, target)
        assert apart(found, slow_enlarged(twin if method is Cam else twin.clamp(min=0))) <= CLOSE * float(twin.abs().max())


def test_where_maps_are_averaged_and_weighed_linearly_four_methods_are_one() -> None:
    """All gradients of a map are one number, the linear layer's weight through the number of places."""
    net = pooled()
    plain = torch.einsum("k,kyx->yx", net[-1].weight[1], net[:4](IMAGE[None])[0]).detach()
    whole = Cam()(boxed(net), IMAGE, 1)
    assert apart(whole, plain) <= CLOSE * float(plain.abs().max())
    for method in (GradCam, XgradCam, HiresCam):
        assert apart(method()(boxed(net), IMAGE, 1) * 64, plain.relu()) <= CLOSE * float(plain.abs().max())


def test_cam_says_where_its_weights_are_averages_only() -> None:
    """Silent on the network it was made for."""
    for net, averaged in ((pooled(), False), (network(), True)):
        (found,) = Cam().many(boxed(net), IMAGE[None], [1])
        assert any("Grad-CAM without its ReLU" in note for note in found.notes) is averaged
        assert found.evidence["layers"] == (boxed(net).layer_info().top,)


def test_hires_cam_deals_the_logit_out_to_the_places() -> None:
    """Behind the layer lies one linear layer, so its sum is the logit less the bias; gradients above zero are LayerCAM's."""
    net = network(nn.Flatten(), nn.Linear(5 * 64, 3), stride=1)
    with torch.no_grad():
        net[-1].weight.abs_()
    found = HiresCam(layer="3")(boxed(net), IMAGE, 2)
    logit, bias = net(IMAGE[None]).detach()[0, 2], net[-1].bias.detach()[2]
    assert abs(float(found.double().sum() - (logit - bias))) <= CLOSE * float(logit)
    assert torch.equal(found, LayerCam(layer="3")(boxed(net), IMAGE, 2))


def test_slopes_too_small_to_be_squared_still_count() -> None:
    """In float32 the square of 1e-30 is zero: Grad-CAM++ divides it out first."""
    gradients = torch.tensor([1e-30, 0.0, -1e-30]).reshape(1, 3, 1, 1)
    found = grad_cam_plus_plus.compute_weights(torch.ones(1, 3, 1, 1), gradients)
    assert torch.allclose(found.flatten(), torch.tensor([0.5e-30, 0, 0]), atol=0)


def test_a_map_that_sums_to_zero_has_no_weight_in_xgrad_cam() -> None:
    """There is nothing to divide by."""
    maps = torch.tensor([[1.0, -1.0], [0.0, 0.0], [1.0, 3.0]]).reshape(1, 3, 1, 2)
    assert xgrad_cam.compute_weights(maps, torch.ones_like(maps)).flatten().tolist() == [0, 0, 1]


@every
def test_many_targets_of_one_image_cost_one_forward_pass(method: Any) -> None:
    """And each map is what it is alone, a contrast's too."""
    box, runs, targets = boxed(network()), [], [0, 2, (1, 0)]
    alone = [method()(box, IMAGE, target) for target in targets]
    box.module.register_forward_hook(lambda *_: runs.append(1))
    with start_run() as run:
        found = method().many(box, IMAGE[None], targets)
    assert len(runs) == run.passes == 1
    assert all(torch.equal(each.saliency, one) for each, one in zip(found, alone, strict=True))


@every
def test_what_cannot_be_explained_is_refused_in_words(method: Any) -> None:
    """A layer that there is not, one without places, and targets that do not fit the images."""
    box = boxed(network())
    with pytest.raises(UnknownName, match="expected the name of a layer, got '9'"):
        method(layer="9")(box, IMAGE, 0)
    with pytest.raises(BoxError, match=r"expected feature maps at layer '6', got shape \(1, 6\)"):
        method(layer="6")(box, IMAGE, 0)
    with pytest.raises(SettingError, match="expected one target an image, or several for one image, got 3 for 2"):
        method().many(box, IMAGE.expand(2, -1, -1, -1), [0, 1, 2])
