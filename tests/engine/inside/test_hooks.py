"""Reading layers and gradients, and leaving nothing behind."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import nn

from salience.boxes.torch import TorchBox
from salience.engine.inside.gradients import differentiate
from salience.engine.inside.hooks import as_feature_maps, from_feature_maps, record_activations
from salience.errors import BoxError, SettingError, UnknownName
from salience.picture import Preparation
from tests.helpers import noise, same


def network(*, inplace: bool = False) -> nn.Sequential:
    """Make a small convolutional network in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(inplace),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    ).double()  # fmt: skip  # a column of layers would fill the page


def hooks(module: nn.Module) -> int:
    """Count the hooks of a module and of all inside."""
    return sum(len(each._forward_hooks) + len(each._backward_hooks) for each in module.modules())


def test_a_tap_reads_what_a_layer_puts_out_and_is_gone_afterwards() -> None:
    """The hook lives inside the block only."""
    net, images = network(), noise(2, 3, 8, 8)
    with record_activations(net, ["0", "3"]) as seen:
        net(images)
        assert hooks(net) == 2
    assert same(seen["0"], net[0](images))
    assert same(seen["3"], net[:4](images))
    assert hooks(net) == 0


def test_a_tap_is_gone_after_an_error_too() -> None:
    """Hooks that stay would read every later call of the user's model."""
    net = network()
    with pytest.raises(RuntimeError), record_activations(net, ["0"]):
        net(noise(2, 4, 8, 8))
    assert hooks(net) == 0
    with pytest.raises(UnknownName, match="expected the name of a layer, got '9'"), record_activations(net, ["0", "9"]):
        pass
    assert hooks(net) == 0


def test_what_follows_in_place_does_not_change_what_was_read() -> None:
    """A ReLU that writes into its input would otherwise write into the tap."""
    images = noise(2, 3, 8, 8)
    read = []
    for inplace in (False, True):
        net = network(inplace=inplace)
        with torch.no_grad(), record_activations(net, ["0", "3"]) as seen:
            out = net(images)
        read.append((seen["0"], seen["3"], out))
    assert all(same(one, other) for one, other in zip(*read, strict=True))
    assert float(read[0][0].min()) < 0


def test_outputs_in_tuples_stay_what_they_are() -> None:
    """A layer may give a tuple, with or without names; the first part is the map."""
    Pair = namedtuple("Pair", "maps more")

    class Gives(nn.Module):
        def __init__(self, kind: type) -> None:
            super().__init__()
            self.kind = kind

        def forward(self, images: torch.Tensor) -> object:
            return self.kind(images, 7) if self.kind is Pair else self.kind([images, 7])

    for kind in (Pair, tuple, list):
        net = nn.ModuleDict({"inner": Gives(kind)})
        with record_activations(net, ["inner"]) as seen:
            out = net["inner"](torch.ones(1, 2))
        assert type(out) is kind
        assert out[1] == 7
        assert torch.equal(seen["inner"], torch.ones(1, 2))


@pytest.mark.parametrize(
    ("shape", "size", "grid"),
    [
        ((2, 16, 7, 7), (224, 224), (16, 7, 7)),
        ((2, 7, 7, 768), (224, 224), (768, 7, 7)),
        ((2, 14, 7, 96), (224, 112), (96, 14, 7)),
        ((2, 96, 14, 7), (224, 112), (96, 14, 7)),
        ((2, 196, 8), (224, 224), (8, 14, 14)),
        ((2, 197, 8), (224, 224), (8, 14, 14)),
        ((2, 201, 8), (224, 224), (8, 14, 14)),
        ((2, 30, 8), (80, 80), (8, 5, 5)),
        ((2, 99, 8), (224, 112), (8, 14, 7)),
    ],
)
def test_feature_maps_are_found_in_every_layout(
    shape: tuple[int, ...], size: tuple[int, int], grid: tuple[int, ...]
) -> None:
    """Channels first, channels last, tokens with none, one or five in front, in the image's proportions."""
    found = as_feature_maps(torch.zeros(shape), size)
    assert found is not None
    assert tuple(found.shape[1:]) == grid


@pytest.mark.parametrize("shape", [(2, 16, 7, 7), (2, 7, 7, 768), (2, 201, 8)])
def test_feature_maps_go_back_to_where_they_came_from(shape: tuple[int, ...]) -> None:
    """In the layer's own layout, with the prefix tokens of the image in front."""
    output = noise(*shape)
    found = as_feature_maps(output, (224, 224))
    assert same(from_feature_maps(found, output, (224, 224))[:1], output[:1])
    assert same(as_feature_maps(from_feature_maps(2 * found, output, (224, 224)), (224, 224)), 2 * found)


def test_tokens_keep_their_places() -> None:
    """The token of row 1, column 2 lies there, behind the prefix."""
    tokens = torch.zeros(1, 5 + 16, 3)
    tokens[0, 5 + 1 * 4 + 2] = torch.tensor([1.0, 2.0, 3.0])
    found = as_feature_maps(tokens, (64, 64))
    assert found[0, :, 1, 2].tolist() == [1, 2, 3]
    assert float(found.sum()) == 6


def test_vectors_are_no_maps() -> None:
    """Logits have no places."""
    assert as_feature_maps(torch.zeros(2, 10), (8, 8)) is None
    assert as_feature_maps(torch.zeros(2, 3, 4), (8, 8)) is None
    assert as_feature_maps(torch.zeros(2, 3, 197, 64), (224, 224)) is None  # queries: heads, tokens, channels


@pytest.mark.parametrize("inplace", [False, True])
def test_a_slope_is_autograds_and_leaves_gradients_alone(inplace: bool) -> None:
    """The images' gradient, and that at a layer, by hand; `.grad` of every parameter stays as it was."""
    net, images = network(inplace=inplace), noise(2, 3, 8, 8)
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    leaf = images.clone().requires_grad_()
    middle = network()[:4](leaf)
    by_hand = torch.autograd.grad(network()[4:](middle)[:, 1].sum(), [leaf, middle])
    with torch.no_grad():
        found = differentiate(net, net, lambda raw: raw, images, [1, 1], ["image", "3"])
    assert same(found.gradients["image"], by_hand[0])
    assert same(found.gradients["3"], by_hand[1])
    assert same(found.activations["3"], middle)
    assert all(bool((parameter.grad == 7).all()) for parameter in net.parameters())
    assert not images.requires_grad
    assert hooks(net) == 0


def test_a_slope_works_inside_inference_mode() -> None:
    """A web service that switches gradients off for good may still ask for one."""
    net, images = network(), noise(1, 3, 8, 8)
    known = differentiate(net, net, lambda raw: raw, images, [(0, 2)], ["image"])
    with torch.inference_mode():
        found = differentiate(net, net, lambda raw: raw, images, [(0, 2)], ["image"])
    assert same(found.gradients["image"], known.gradients["image"])


def test_a_box_taps_named_layers_and_refuses_others() -> None:
    """The box gives maps; a layer of vectors is refused with those that have maps."""
    box = TorchBox(network(), Preparation((8, 8)), "abc")
    assert box.layers() == ("1", "4")
    assert box.activations(noise(2, 3, 8, 8), ["2"])["2"].shape == (2, 4, 4, 4)
    with pytest.raises(BoxError, match=r"expected feature maps at layer '7', got shape \(2, 3\)"):
        box.activations(noise(2, 3, 8, 8), ["7"])


def test_a_tap_reads_what_goes_into_a_layer_too() -> None:
    """By place or by keyword."""

    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(input=2 * images)

    net, images = Asks(), noise(2, 3, 8, 8)
    with record_activations(net, ["inner:in", "inner.0:in"], {"inner.0:in": lambda value: 0 * value}) as seen:
        out = net(images)
    assert same(seen["inner:in"], 2 * images)
    assert same(out, net.inner(0 * images))
    assert sum(len(each._forward_pre_hooks) for each in net.modules()) == 0


def test_one_image_may_have_several_targets() -> None:
    """It runs forward once; each gradient is what it is alone."""
    net, images, runs = network(), noise(1, 3, 8, 8), []
    net.register_forward_hook(lambda *_: runs.append(1))
    found = differentiate(net, net, lambda raw: raw, images, [0, 2, (1, 0)], ["image", "3"])
    assert len(runs) == 1
    alone = net(images)[0].detach()
    assert same(found.scores, torch.stack([alone[0], alone[2], alone[1] - alone[0]]))
    for number, target in enumerate([0, 2, (1, 0)]):
        single = differentiate(net, net, lambda raw: raw, images, [target], ["image", "3"])
        assert all(same(found.gradients[layer][number : number + 1], single.gradients[layer]) for layer in ("image", "3"))


def test_what_lies_before_the_first_layer_is_not_differentiated() -> None:
    """Its graph is never made, so a Grad-CAM costs a forward pass and little more."""
    net, modes = network(), []
    for inner in net:
        inner.register_forward_pre_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    differentiate(net, net, lambda raw: raw, noise(1, 3, 8, 8), [0], ["3"])
    assert modes == [False] * 4 + [True] * 4
    assert torch.is_grad_enabled()


def test_without_targets_the_likeliest_class_is_read() -> None:
    """Of each image."""
    net, images = network(), noise(5, 3, 8, 8)
    found = differentiate(net, net, lambda raw: raw.softmax(1), images, None, ["3"])
    assert list(found.targets) == net(images).argmax(1).tolist()
    assert same(found.scores, net(images).softmax(1).amax(1))
    with pytest.raises(SettingError, match="expected one target an image, or several for one image, got 3 for 5"):
        differentiate(net, net, lambda raw: raw, images, [0, 1, 2], ["3"])
