"""Slopes without gradients, beside those with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salience.boxes.torch import TorchBox
from salience.engine.inside import finite_differences
from salience.engine.inside.loop import read_activations
from salience.engine.query.run import start_run
from salience.picture import Preparation
from salience.types import Target
from tests.helpers import noise


def box_of(head: str) -> TorchBox:
    """Make a smooth network of two blocks, in double precision."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Softplus(), nn.AvgPool2d(2), nn.Conv2d(5, 7, 3), nn.Softplus())
    net = nn.Sequential(*net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 3)).double()
    return TorchBox(net, Preparation((12, 12)), "abc", head=head, backend="exact")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [1, (0, 2), lambda row: row[:, 1] - row[:, 0]])
@pytest.mark.parametrize("layer", ["1", "4"])
def test_raising_a_map_a_little_shows_its_mean_slope(target: Target, layer: str) -> None:
    """ε Σ ∂ log p / ∂A_k is the first term of the change."""
    box, image = box_of("softmax"), noise(1, 3, 12, 12)
    known = box.differentiate(image, [target], [layer], "log-probability").gradients[layer].mean((2, 3))
    found = finite_differences.estimate_gradients(box, image, [target], box.activations(image, [layer]))[layer]
    assert float((found - known).abs().max()) < 0.02 * float(known.abs().max())


def test_without_a_softmax_the_slope_is_the_logits() -> None:
    """Each label has a probability of its own; its logarithm has the same gradients, but for one factor."""
    box, image = box_of("sigmoid"), noise(1, 3, 12, 12)
    known = box.differentiate(image, [2], ["4"], "log-probability").gradients["4"].mean((2, 3))
    found = finite_differences.estimate_gradients(box, image, [2], box.activations(image, ["4"]))["4"]
    share = found / known
    assert float(share.std() / share.mean()) < 0.02


def test_the_passes_of_all_layers_are_counted() -> None:
    """One, and one a map and a layer, whatever the number of targets."""
    box, image = box_of("softmax"), noise(1, 3, 12, 12)
    maps = read_activations(box, image, ["1", "4"])
    with start_run() as run:
        finite_differences.estimate_gradients(box, image, [0, 1], maps)
    assert run.passes == finite_differences.count_passes(maps) == 1 + (1 + 5) + (1 + 7)
