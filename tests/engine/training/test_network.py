"""The network that turns features into a map a class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from salience.engine.training.network import Attention, make_network
from tests.helpers import apart, noise


def plainly(network: Attention, features: list[Tensor]) -> Tensor:
    """Enlarge the features of all branches, lay them side by side, and weigh them: word by word."""
    size = features[0].shape[-2:]
    large = []
    for branch, each in zip(network.branches, features, strict=True):
        mixed = functional.conv2d(each, branch.mix.weight, branch.mix.bias)
        norm = branch.norm
        mean, var = (value[:, None, None] for value in (norm.running_mean, norm.running_var))
        scaled = (mixed - mean) / (var + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        joined = (scaled + each).clamp(min=0)
        large.append(functional.interpolate(joined, size=size, mode="bilinear", align_corners=False))
    return functional.conv2d(torch.cat(large, 1), network.fuser.weight, network.fuser.bias)


@torch.no_grad()
def test_weighing_before_enlarging_is_weighing_after_it() -> None:
    """A sum over channels and a sum over places may change places, so few maps are enlarged and not many features."""
    network = make_network((3, 5, 2), 7, bias=True, seed=1).double()
    features = [noise(2, 3, 12, 12, seed=1), noise(2, 5, 6, 6, seed=2), noise(2, 2, 5, 4, seed=3)]
    network.train()(features, torch.arange(7))  # running means other than 0
    network.eval()
    rows = torch.tensor([6, 2])
    assert apart(network(features, rows), plainly(network, features)[:, rows]) < 1e-12


def test_resnet_18_and_a_thousand_classes_make_as_many_weights_as_published() -> None:
    """Four layers of 64, 128, 256 and 512 channels, no bias at the fuser: 1,311,040."""
    network = make_network((64, 128, 256, 512), 1000)
    assert sum(each.numel() for each in network.parameters() if each.requires_grad) == 1_311_040


def test_only_the_rows_asked_for_get_a_slope() -> None:
    """A class that no picture of the batch has learns nothing from it."""
    network = make_network((3, 4), 5)
    network([noise(2, 3, 4, 4).float(), noise(2, 4, 2, 2).float()], torch.tensor([1, 3])).square().sum().backward()
    gradients = network.fuser.weight.grad
    assert gradients is not None
    assert (gradients.flatten(1).abs().sum(1) > 0).tolist() == [False, True, False, True, False]


def test_first_weights_come_from_the_seed_and_the_process_keeps_its_chances() -> None:
    """Chance has an address."""
    before = torch.get_rng_state()
    one, same, other = (make_network((3,), 2, seed=seed).fuser.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
