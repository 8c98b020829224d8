"""SISE and Ada-SISE with a trained network and a real photograph, both of which come with the package."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import salience
from salience.boxes.torch import TorchBox
from salience.cli.files import SAMPLE
from salience.engine import maps

pytestmark = pytest.mark.slow  # a minute of passes through real networks


@pytest.fixture(scope="module")
def box() -> TorchBox:
    """Return the default box, exact."""
    made = salience.load(backend="exact")
    assert isinstance(made, TorchBox)
    return made


def test_ada_sise_is_like_sise_at_less_than_half_of_its_masks(box: TorchBox) -> None:
    """The target that the specification sets: at most 40 % of the masks."""
    whole = salience.explain(box, SAMPLE, "sise", batch=16)
    ada = salience.explain(box, SAMPLE, "ada-sise", batch=16)
    assert ada.passes <= 0.4 * whole.passes
    assert maps.rank_agreement(whole.saliency, ada.saliency) > 0.6
    thresholds = [each["threshold"] for each in ada.evidence["blocks"]]
    assert all(0 < threshold < 1 for threshold in thresholds)


def test_a_network_with_other_weights_gives_another_map(box: TorchBox) -> None:
    """The sanity check of model randomisation: the map is the network's, not an edge detector's."""
    known = salience.explain(box, SAMPLE, "ada-sise", target=967, batch=16)
    other = copy.copy(box)
    other.module = copy.deepcopy(box.module)
    torch.manual_seed(0)
    for inner in other.module.modules():
        if isinstance(inner, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(inner.weight)
    found = salience.explain(other, SAMPLE, "ada-sise", target=967, batch=16)
    assert abs(maps.rank_agreement(known.saliency, found.saliency)) < 0.4
