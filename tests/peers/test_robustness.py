"""Infidelity and max-sensitivity against Captum, on the same perturbations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes.torch import TorchBox
from salience.case import Case
from salience.engine import seeding
from salience.measures.infidelity import Infidelity, sample_squares
from salience.measures.max_sensitivity import MaxSensitivity
from salience.methods.gradient import Gradient
from salience.picture import Preparation
from salience.types import Map
from tests.helpers import curved, noise

BOX, IMAGE, SALIENCY = curved(), noise(3, 8, 8), noise(8, 8, seed=1) - 0.3
SAMPLES = 30


def removed(protocol: str) -> tuple[Tensor, Tensor]:
    """Give our perturbations in Captum's terms: what is multiplied with the map, and the images that are left."""
    if protocol == "gaussian":
        drawn = torch.randn(SAMPLES, 3, 8, 8, generator=seeding.generator(0, "infidelity", "gaussian", 0)).double()
        return IMAGE - 0.5 - 0.2 * drawn, 0.5 + 0.2 * drawn
    hidden = (1 - sample_squares((8, 8), SAMPLES, 0).rasterise(IMAGE))[:, None]
    return hidden.expand(-1, 3, -1, -1) / 3, IMAGE + hidden * (0.5 - IMAGE)  # a third a channel: a pixel counts once


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("protocol", ["square-removal", "gaussian"])
def test_infidelity_is_captums(protocol: str, scaled: bool) -> None:
    """With `normalize` it finds the same best factor."""
    metrics = pytest.importorskip("captum.metrics")
    known = metrics.infidelity(
        BOX, lambda inputs: removed(protocol), IMAGE[None], SALIENCY.expand(1, 3, 8, 8), target=1,
        n_perturb_samples=SAMPLES, normalize=scaled,
    )  # fmt: skip  # a column of arguments would fill the page
    found = Infidelity(protocol, samples=SAMPLES, scaled=scaled)(Case(BOX, IMAGE, 1, SALIENCY))  # type: ignore[arg-type]
    assert found.value == pytest.approx(float(known), rel=1e-6)


def test_max_sensitivity_of_the_gradient_is_captums() -> None:
    """On a box that normalises nothing, so that both balls are the same."""
    attr, metrics = pytest.importorskip("captum.attr"), pytest.importorskip("captum.metrics")

    def explain(box: Any, image: Tensor, target: Any, seed: int | None) -> Map:
        return Gradient()(box, image, target)

    def theirs(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        steps = [torch.rand(3, 8, 8, generator=seeding.generator(0, "max-sensitivity", draw)) * 2 - 1 for draw in range(10)]
        return (IMAGE + 0.02 * torch.stack(steps).double(),)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3)).double()
    box = TorchBox(net, Preparation((8, 8)), ("a", "b", "c"), backend="exact")

    def attribute(inputs: Any) -> tuple[Tensor, ...]:
        seen = inputs[0] if isinstance(inputs, tuple) else inputs
        return (attr.Saliency(net).attribute(seen.requires_grad_(), target=1).amax(1, keepdim=True),)

    # a bare tensor in place of the tuple comes out √10 too large in captum 0.9: ten maps less ten maps, each with each
    known = metrics.sensitivity_max(attribute, (IMAGE[None],), perturb_func=theirs, n_perturb_samples=10)
    one = Case(box, IMAGE, 1, explain(box, IMAGE, 1, None), explain=explain)
    assert MaxSensitivity()(one).value == pytest.approx(float(known), rel=1e-6)
