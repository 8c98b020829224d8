"""Boxes whose networks have forgotten what they learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from salience.boxes import toy
from salience.boxes.torch import TorchBox
from salience.engine import maps
from salience.errors import BoxError, UnknownName
from salience.picture import Preparation
from tests.helpers import noise


def small() -> TorchBox:
    """Make a network whose head was registered first, as some are, with a shared normalisation and a dead end."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)
            self.first = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.shift = nn.Parameter(torch.full((4,), 0.5))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen = self.norm(self.first(images)).relu().mean((2, 3)) + self.shift
            return self.head(seen)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    net = Net()
    nn.init.uniform_(net.norm.running_mean)
    return TorchBox(net, Preparation((16, 16)), ("a", "b", "c"), backend="exact")


def test_modules_are_named_in_the_order_of_a_pass() -> None:
    """The order of registration is the author's taste; the last module entered gives the logits."""
    assert small().list_weighted() == ("", "first", "norm", "head")


def test_weights_that_no_pass_enters_follow_the_module_around_them() -> None:
    """PyTorch's attention reads its output layer's weights without calling it."""

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(12, 2)
            self.attend = nn.MultiheadAttention(12, 2, batch_first=True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = images.flatten(2).reshape(len(images), -1, 12)
            return self.last(self.attend(tokens, tokens, tokens)[0].mean(1))  # type: ignore[no-any-return]

    box = TorchBox(Attends(), Preparation((8, 8)), ("a", "b"), backend="exact")
    assert box.list_weighted() == ("attend", "attend.out_proj", "last")


def test_only_the_named_modules_are_drawn_anew() -> None:
    """The rest is the copy's own, and equal; normalisation goes back to doing nothing."""
    box = small()
    other = box.reinitialise(["norm", "head"])
    before, after = box.module.state_dict(), other.module.state_dict()
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed == {"norm.running_mean", "head.weight", "head.bias"}
    assert after["norm.running_mean"].tolist() == after["head.bias"][:1].tolist() * 4 == [0] * 4
    assert not {value.data_ptr() for value in before.values()} & {value.data_ptr() for value in after.values()}


def test_the_box_and_the_processs_chance_stay_as_they_are() -> None:
    """The user's network is copied, and the draw has its own address."""
    box, image = small(), noise(1, 3, 16, 16).float()
    state, mark, answer = torch.random.get_rng_state(), box.fingerprint, box(image)
    other = box.reinitialise(box.list_weighted())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(box(image), answer)
    assert (box.fingerprint, box.name) == (mark, "Net")
    assert other.fingerprint != mark
    assert other.name == "Net, redrawn"
    assert not torch.equal(other(image), answer)


def test_a_seed_gives_one_network_and_another_seed_another() -> None:
    """Each module has its own address, so what else is drawn anew does not matter to it."""
    box = small()
    one, again, more, other = (
        box.reinitialise(names, seed).module.state_dict()["head.weight"]
        for names, seed in ((["head"], 0), (["head"], 0), (box.list_weighted(), 0), (["head"], 1))
    )
    assert torch.equal(one, again)
    assert torch.equal(one, more)
    assert not torch.equal(one, other)


def test_kernels_have_the_variance_that_keeps_a_signal() -> None:
    """2 / fan-in, where the fan-in of a kernel is what one output sums over."""
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 256, 3, groups=4), nn.Flatten(), nn.Linear(256, 10))
    box = TorchBox(net, Preparation((5, 5)), [str(k) for k in range(10)], backend="exact")
    made = box.reinitialise(box.list_weighted()).module
    for index, fan in ((0, 27), (2, 144), (4, 256)):
        assert float(made[index].weight.detach().var()) == pytest.approx(2 / fan, rel=0.1)  # type: ignore[index]


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")  # users have such networks
def test_what_cannot_be_redrawn_is_said() -> None:
    """A name that is not there, a network that was scripted, one that cannot be copied."""
    with pytest.raises(UnknownName, match="did you mean detect"):
        toy.load("colour").reinitialise(["detekt"])
    box = toy.load("colour")
    box.module = torch.jit.trace(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 8, 8))
    with pytest.raises(BoxError, match="made of modules"):
        box.list_weighted()
    box.module = nn.Linear(3, 2)
    box.module.extra = box.module.weight * 2  # a result, which torch does not copy
    with pytest.raises(BoxError, match="expected a network that can be copied, got RuntimeError"):
        box.reinitialise([])


@pytest.mark.parametrize("name", ["vit_tiny", "mobilenet_v2", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_a_real_network_drawn_anew_still_sees_the_image(name: str, data: Path) -> None:
    """Or a map of it would say nothing: its logits move with the image, by more than a tenth of their spread."""
    from benchmarks import data as real

    box = getattr(real, name)("exact")
    names = box.list_weighted()
    assert len(names) == len([each for each in box.module.modules() if any(True for _ in each.parameters(recurse=False))])
    images = torch.cat([noise(1, 3, *box.size, seed=1), maps.resize(noise(9, 9), box.size).expand(1, 3, *box.size)]).float()
    one, other = box.reinitialise(names).logits(images).detach()
    assert float((one - other).std()) > 0.1 * float(one.std())
