"""Score-CAM against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.score_cam import ScoreCam
from tests.helpers import noise, same
from tests.methods.test_sise import IMAGE, box_of, network


def slow_score_cam(image: Tensor, target: int, weights: str) -> Tensor:
    """One map at a time; hidden pixels are 0 in the network's own space."""
    net = network()
    x = ((image - 0.4) / 0.3)[None]
    with torch.no_grad():
        maps = net[:8](x)[0]
        raw, kept = [], []
        for each in maps:
            if float(each.max() - each.min()) < 1e-6:
                continue
            mask = functional.interpolate(each[None, None], size=(16, 16), mode="bilinear")[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            logits = net(x * mask)[0]
            raw.append(float(logits[target] if weights == "softmax" else logits.softmax(0)[target]))
            kept.append(each)
    w = torch.tensor(raw, dtype=torch.float64)
    w = w.softmax(0) if weights == "softmax" else w
    small = sum(a * b for a, b in zip(w, kept, strict=True)).clamp(min=0)
    return functional.interpolate(small[None, None], size=(16, 16), mode="bilinear")[0, 0]


@pytest.mark.parametrize("weights", ["softmax", "probability"])
@pytest.mark.parametrize("target", [0, 3])
def test_score_cam_equals_its_definition_in_plain_loops(weights: str, target: int) -> None:
    """With the paper's weights and with those of the authors' code."""
    found = ScoreCam(weights=weights)(box_of(network()), IMAGE, target)
    assert same(found, slow_score_cam(IMAGE, target, weights), 1e-6)


def test_constant_maps_cost_nothing() -> None:
    """A dead channel, and one that is the same everywhere."""
    net = network()
    with torch.no_grad():
        net[6].weight[2:4] = 0
        net[6].bias[2:4] = torch.tensor([-1.0, 1.0])
    with start_run() as run:
        why = ScoreCam().many(box_of(net), IMAGE[None], [1])[0]
    assert run.passes == 1 + why.evidence["masks"]
    assert why.evidence["masks"] <= 8
    assert why.evidence["maps"] == 10


def test_several_targets_of_one_image_cost_one_set_of_passes() -> None:
    """The masks do not depend on the class."""
    box, calls = box_of(network()), []
    box.layers()
    box.module.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    together = ScoreCam().many(box, IMAGE[None], [0, 1, 2])
    spent = sum(calls)
    alone = [ScoreCam()(box, IMAGE, target) for target in (0, 1, 2)]
    assert sum(calls) - spent == 3 * spent
    assert all(same(one.saliency, other, 1e-9) for one, other in zip(together, alone, strict=True))


def test_many_images_give_each_its_own_map() -> None:
    """In the order of the images."""
    images = noise(3, 3, 16, 16, seed=4)
    together = ScoreCam().many(box_of(network()), images, [0, 1, 2])
    for image, target, one in zip(images, (0, 1, 2), together, strict=True):
        assert same(one.saliency, ScoreCam()(box_of(network()), image, target), 1e-9)


def test_too_small_a_budget_and_unknown_weights_are_refused() -> None:
    """No map is left out in silence."""
    with pytest.raises(BudgetError, match="expected a budget of at least .* feature maps of 7"), start_run(4):
        ScoreCam()(box_of(network()), IMAGE, 0)
    with pytest.raises(SettingError, match="expected weights softmax or probability, got 'logit'"):
        ScoreCam(weights="logit")
