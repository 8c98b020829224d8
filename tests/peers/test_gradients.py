"""The gradient family against Captum, and FullGrad against pytorch-grad-cam.

They get the image as the network sees it, we get pixels in 0…1, so a gradient of theirs divided by std is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes.torch import TorchBox
from salience.engine import seeding
from salience.methods.fullgrad import Fullgrad, stretch_sizes
from salience.methods.gradient import Gradient
from salience.methods.guided_backprop import GuidedBackprop
from salience.methods.input_x_gradient import InputXGradient
from salience.methods.integrated_gradients import IntegratedGradients
from salience.methods.smooth_grad import SmoothGrad
from salience.picture import Preparation
from tests.helpers import noise, same

SIZE, CLASS = (64, 64), 7
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
IMAGE = noise(3, *SIZE)


def resnet() -> nn.Module:
    """Make a ResNet-18, whose blocks use one in-place ReLU twice."""
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    return models.resnet18(num_classes=10)


def small() -> nn.Module:
    """Make a small network with pooling and a dense head."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 13 * 13, 20), nn.ReLU(), nn.Linear(20, 10),
    )  # fmt: skip  # a column of layers would fill the page


both = pytest.mark.parametrize("make", [resnet, small])


def sides(make: Callable[[], nn.Module]) -> tuple[TorchBox, nn.Module, Tensor]:
    """Make our box, their network, and the image as the network sees it, all in double precision."""
    ready = Preparation(SIZE, mean=tuple(MEAN.tolist()), std=tuple(STD.tolist()))
    box = TorchBox(make().double(), ready, [str(k) for k in range(10)], backend="exact")
    return box, make().double().eval(), ((IMAGE - theirs(MEAN)) / theirs(STD)).requires_grad_()


def theirs(values: Tensor) -> Tensor:
    """Shape a value a channel, as the box has it."""
    return torch.tensor(values.tolist(), dtype=torch.float64)[:, None, None]


@both
def test_gradient_is_captums_saliency(make: Callable[[], nn.Module]) -> None:
    """Sizes of gradients, each channel by itself; then the largest."""
    captum = pytest.importorskip("captum.attr")
    box, net, seen = sides(make)
    known = captum.Saliency(net).attribute(seen[None], CLASS)[0].detach() / theirs(STD)
    assert same(Gradient()(box, IMAGE, CLASS), known.amax(0), 1e-10)
    assert same(Gradient("sum-abs")(box, IMAGE, CLASS), known.sum(0), 1e-10)


@both
def test_input_x_gradient_is_captums(make: Callable[[], nn.Module]) -> None:
    """What the network sees, times the gradient there."""
    captum = pytest.importorskip("captum.attr")
    box, net, seen = sides(make)
    known = captum.InputXGradient(net).attribute(seen[None], CLASS)[0].detach()
    assert same(InputXGradient()(box, IMAGE, CLASS), known.sum(0), 1e-10)


@both
@pytest.mark.parametrize(("rule", "name"), [("gauss-legendre", "gausslegendre"), ("middle", "riemann_middle")])
def test_integrated_gradients_and_their_delta_are_captums(make: Callable[[], nn.Module], rule: Any, name: str) -> None:
    """Its baseline is 0 as the network sees it; its weights and points are float32."""
    captum = pytest.importorskip("captum.attr")
    box, net, seen = sides(make)
    known, delta = captum.IntegratedGradients(net).attribute(
        seen[None], target=CLASS, n_steps=20, method=name, return_convergence_delta=True
    )
    found = IntegratedGradients(steps=20, rule=rule).many(box, IMAGE[None], [CLASS])[0]
    scale = float(known.detach().abs().max())
    assert same(found.saliency, known[0].detach().sum(0), 1e-6 * scale)
    assert abs(found.evidence["convergence delta"] - float(delta.detach())) < 1e-5 * scale * seen.numel() ** 0.5


@both
@pytest.mark.parametrize(("square", "name"), [(False, "smoothgrad"), (True, "smoothgrad_sq")])
def test_smooth_grad_is_captums_on_the_same_noise(
    make: Callable[[], nn.Module], square: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captum draws its noise from the process's generator: it is given ours instead."""
    captum = pytest.importorskip("captum.attr")
    box, net, seen = sides(make)
    deviation = 0.15 * (IMAGE.max() - IMAGE.min())
    addresses = [seeding.generator(0, "smooth-grad", copy) for copy in range(6)]
    ours = torch.stack([torch.randn(IMAGE.shape, generator=each).double() for each in addresses]) * deviation / theirs(STD)
    monkeypatch.setattr(torch, "normal", lambda *_, **__: ours)
    tunnel = captum.NoiseTunnel(captum.Saliency(net))
    known = tunnel.attribute(seen[None], nt_type=name, nt_samples=6, target=CLASS, abs=False)[0].detach()
    monkeypatch.undo()
    known = known / theirs(STD) ** (2 if square else 1)
    assert same(SmoothGrad(copies=6, square=square)(box, IMAGE, CLASS), known.abs().amax(0), 1e-10)


@both
@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")  # Captum says so at each call
def test_guided_backprop_is_captums(make: Callable[[], nn.Module]) -> None:
    """Slopes that go on above 0 alone, at every ReLU."""
    captum = pytest.importorskip("captum.attr")
    box, net, seen = sides(make)
    known = captum.GuidedBackprop(net).attribute(seen[None], CLASS)[0].detach() / theirs(STD)
    assert same(GuidedBackprop()(box, IMAGE, CLASS), known.abs().amax(0), 1e-10)
    assert not same(GuidedBackprop()(box, IMAGE, CLASS), Gradient()(box, IMAGE, CLASS), 1e-3 * float(known.max()))


def test_the_parts_of_fullgrad_are_those_of_pytorch_grad_cam() -> None:
    """Its maps differ by design: it stretches each channel by itself, not the layer. So its parts are compared.

    They are its biases with the means of batch norms, and its gradients at the layers; each layer is then stretch_sizes as
    the paper says.
    """
    cam = pytest.importorskip("pytorch_grad_cam")
    box, net, seen = sides(small)
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    full = cam.FullGrad(net, [])
    full(seen[None], [ClassifierOutputTarget(CLASS)])
    heard = list(full.activations_and_grads.gradients)
    full.activations_and_grads.release()
    leaf = seen[None].detach().requires_grad_()
    known = stretch_sizes(leaf.detach() * torch.autograd.grad(net(leaf)[0, CLASS], leaf)[0]).sum(1)
    for bias, gradients in zip(full.bias_data, heard, strict=True):
        small_map = stretch_sizes(gradients * torch.from_numpy(bias)[:, None, None]).sum(1, keepdim=True)
        known = known + nn.functional.interpolate(small_map, size=SIZE, mode="bilinear")[:, 0]
    assert len(full.bias_data) == 3
    assert same(Fullgrad()(box, IMAGE, CLASS), known[0], 1e-5)  # its biases and gradients pass through float32
