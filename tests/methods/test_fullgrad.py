"""FullGrad against its definition, and its theorem: input and biases add up to the score."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from salience.boxes.torch import TorchBox
from salience.engine.query.run import start_run
from salience.errors import BoxError
from salience.methods.fullgrad import Fullgrad, stretch_sizes
from salience.picture import Preparation
from tests.helpers import noise, same

SIZE, MEAN, STD = (8, 12), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
IMAGE = noise(3, *SIZE)


def normed(channels: int, **more: bool) -> nn.BatchNorm2d:
    """Make a batch norm that has seen data, so that it shifts."""
    norm = nn.BatchNorm2d(channels, **more)
    for number, each in enumerate((norm.weight, norm.bias, norm.running_mean, norm.running_var)):
        if each is not None:
            each.data = noise(channels, seed=number).float() + 0.1
    return norm


def stack(act: Callable[[], nn.Module] = lambda: nn.ReLU(inplace=True)) -> nn.Sequential:
    """Make a network with biases of every kind: in front of, inside and behind the pooling."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), normed(4), act(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), act(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.BatchNorm1d(6), act(), nn.Linear(6, 3),
    ).double()  # fmt: skip  # a column of layers would fill the page


def boxed(module: nn.Module) -> TorchBox:
    """Make a box with a normalisation."""
    return TorchBox(module.double(), Preparation(SIZE, mean=MEAN, std=STD), "abc", backend="exact")


def gap(module: nn.Module, target: int | tuple[int, int] = 1) -> float:
    """Return the share of the score that the parts miss."""
    found = Fullgrad().many(boxed(module), IMAGE[None], [target])[0]
    assert (found.notes == ()) == (found.evidence["completeness gap"] <= 1e-2)
    return found.evidence["completeness gap"]


def psi(part: Tensor) -> Tensor:
    """Take sizes, stretch them over the layer, enlarge each channel, and sum: (c y x) to (h w)."""
    sizes = part.abs()
    sizes = (sizes - sizes.min()) / (sizes.max() - sizes.min())
    total = torch.zeros(SIZE, dtype=torch.float64)
    for channel in sizes:
        total += functional.interpolate(channel[None, None], size=SIZE, mode="bilinear")[0, 0]
    return total


def test_the_map_equals_the_definition_layer_by_layer() -> None:
    """Three layers have biases with places; the batch norm's is β − γ μ / σ."""
    net = stack().eval()
    x = torch.stack([(IMAGE[c] - MEAN[c]) / STD[c] for c in range(3)])[None].requires_grad_()
    one = net[0](x)
    two = net[1](one)
    three = net[4](net[3](two.relu()))
    logit = net[6:](three.relu())[0, 1]
    at_x, at_one, at_two, at_three = (each[0] for each in torch.autograd.grad(logit, [x, one, two, three]))
    norm = net[1]
    shift = norm.bias - norm.weight * norm.running_mean / torch.sqrt(norm.running_var + norm.eps)
    known = psi(x[0] * at_x)
    for bias, gradients in ((net[0].bias, at_one), (shift, at_two), (net[4].bias, at_three)):
        known += psi(torch.stack([b * g for b, g in zip(bias, gradients, strict=True)]))
    assert same(Fullgrad()(boxed(stack()), IMAGE, 1), known.detach(), 1e-10)


def test_without_biases_it_is_input_times_gradient_stretch_sizes() -> None:
    """All of the score comes from the input."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(240, 3, bias=False)).double()
    x = torch.stack([(IMAGE[c] - MEAN[c]) / STD[c] for c in range(3)])[None].requires_grad_()
    gradients = torch.autograd.grad(net(x)[0, 1], x)[0]
    assert same(Fullgrad()(boxed(net), IMAGE, 1), stretch_sizes(x * gradients)[0].sum(0).detach())
    assert gap(net) < 1e-12


class Odd(nn.Module):
    """A network with its layers used in odd ways: functions, a layer twice, a skip connection, a squeeze."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.twice, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), normed(4)
        self.squeeze, self.unused, self.end = nn.Conv2d(4, 4, 1), nn.Conv2d(9, 9, 1), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Run."""
        seen = functional.relu(functional.conv2d(images, self.enter.weight, bias=self.enter.bias, padding=1), inplace=True)
        seen = self.twice(self.twice(seen).relu_()) + seen
        one, two, three, four = self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias
        seen = torch.batch_norm(seen, three, four, one, two, False, 0.1, 1e-3, False).relu()
        seen = functional.batch_norm(seen, one, two, three, four)
        seen = seen + self.squeeze(seen.mean((2, 3), keepdim=True))
        return self.end(seen.clamp(min=0).mean((2, 3)))


NETS = {
    "stack": stack,
    "training": lambda: stack().train(),
    "relu6": lambda: stack(nn.ReLU6),
    "low ceiling": lambda: stack(lambda: nn.Hardtanh(0, 0.3, inplace=True)),
    "leaky": lambda: stack(nn.LeakyReLU),
    "exported": lambda: torch.export.export(stack().eval(), (IMAGE[None],)).module(),
    "exported ceiling": lambda: torch.export.export(stack(nn.ReLU6).eval(), (IMAGE[None],)).module(),
    "odd": Odd,
    "norm without weights": lambda: nn.Sequential(normed(3, affine=False), stack()),
    "compiled": lambda: torch.compile(stack(), backend="eager"),
}


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("target", [1, (0, 2)])
def test_input_and_biases_add_up_to_the_score(kind: str, target: int | tuple[int, int]) -> None:
    """Completeness: a piecewise linear network is its gradient times its input and what its biases add."""
    assert gap(NETS[kind](), target) < 1e-10


def test_a_network_of_single_precision_adds_up_nearly() -> None:
    """To 1e-6."""
    ready = Preparation(SIZE, mean=MEAN, std=STD)
    box, half = (TorchBox(stack().to(kind), ready, "abc", backend="exact") for kind in (torch.float32, torch.bfloat16))
    found = Fullgrad().many(box, IMAGE[None].float(), [1])[0]
    assert found.evidence["completeness gap"] < 1e-6
    assert same(found.saliency, Fullgrad()(boxed(stack()), IMAGE, 1), 1e-4)
    rough = Fullgrad()(half, IMAGE.float(), 1)
    assert rough.dtype == torch.float32
    assert float((rough - found.saliency).abs().mean()) < 0.1 * float(found.saliency.abs().mean())


@pytest.mark.parametrize("act", [nn.Tanh, nn.Softplus])
def test_what_is_not_piecewise_linear_leaves_a_gap_and_a_note(act: Callable[[], nn.Module]) -> None:
    """A reader of the map is told how much it leaves out."""
    assert gap(stack(act)) > 1e-2
    assert Fullgrad().many(boxed(stack(act)), IMAGE[None], [1])[0].notes[0].startswith("the parts miss the score by ")


def test_a_batch_norm_of_the_batch_itself_counts_with_its_bias_alone() -> None:
    """It keeps no means, so what it takes away is no constant, and that is a gap."""
    assert gap(nn.Sequential(normed(3, track_running_stats=False), stack())) > 1e-2


def test_many_images_and_many_targets_give_the_maps_of_each_alone() -> None:
    """One target an image, or several of one image, under any batch size."""
    box, aims, images = boxed(stack()), [0, 1, (2, 0)], torch.stack([IMAGE, IMAGE.flip(1), IMAGE.flip(2)])
    for batch in (2, 64):
        with start_run(batch=batch) as run:
            each, several = Fullgrad().many(box, images, aims), Fullgrad().many(box, images[:1], aims)
        assert run.passes == 4
        for number, aim in enumerate(aims):
            assert same(each[number].saliency, Fullgrad()(box, images[number], aim), 1e-10)
            assert same(several[number].saliency, Fullgrad()(box, images[0], aim), 1e-10)
            assert several[number].evidence["completeness gap"] < 1e-10


def test_a_pass_that_ran_out_of_memory_leaves_no_parts() -> None:
    """The batch is halved and begun anew; what was heard of the first try is forgotten."""
    tries = []

    class Full(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            tries.append(len(images))
            images.register_hook(self.fail)
            return images

        @staticmethod
        def fail(gradient: Tensor) -> None:
            if len(gradient) > 1:
                raise torch.OutOfMemoryError("full")

    images = torch.stack([IMAGE, IMAGE.flip(1)])
    found = Fullgrad().many(boxed(nn.Sequential(stack()[0:1], nn.Conv2d(4, 3, 1), Full(), stack())), images, [0, 1])
    assert tries == [2, 1, 1]
    assert all(each.evidence["completeness gap"] < 1e-10 for each in found)


def test_nothing_is_left_behind_after_an_error() -> None:
    """The mode ends, and the network has no hooks."""

    class Tired(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise ValueError("tired")

    box = boxed(nn.Sequential(stack()[:3], Tired()))
    with pytest.raises(BoxError, match="tired"):
        Fullgrad()(box, IMAGE, 1)
    assert torch.overrides._get_current_function_mode() is None
    assert not any(each._forward_hooks or each._backward_hooks for each in box.module.modules())
