"""Agreement with a reference method, and what a map cost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from salience.boxes import toy
from salience.case import Case
from salience.case import Cost as Spending
from salience.errors import SettingError, UnknownName
from salience.measures.agreement import Agreement
from salience.measures.cost import Cost
from salience.methods.grad_cam import GradCam
from salience.methods.gradient import Gradient
from salience.methods.occlusion import Occlusion
from salience.tasks.measure import measure_case
from tests.helpers import Asked, brightness, noise

BOX, IMAGE = toy.load("colour"), toy.picture() + 0.1 * noise(3, 32, 32, dtype=torch.float32)
every = pytest.mark.parametrize("protocol", ["spearman", "ssim", "top-k"])


@every
def test_a_method_agrees_with_itself(protocol: str) -> None:
    """The reference is made with its default settings, for the same target."""
    for name, method in (("grad-cam", GradCam()), ("occlusion", Occlusion())):
        one = Case(BOX, IMAGE, 1, method(BOX, IMAGE, 1))
        assert Agreement(protocol, name)(one).value == pytest.approx(1)  # type: ignore[arg-type]
        assert Agreement(protocol, name)(replace(one, saliency=noise(32, 32).float())).value < 0.3  # type: ignore[arg-type]


def test_agreement_is_of_all_pixels_ranks() -> None:
    """By scipy."""
    saliency = noise(32, 32).float() + Gradient()(BOX, IMAGE, 0)
    known = spearmanr(saliency.flatten(), GradCam()(BOX, IMAGE, 0).flatten()).statistic
    found = Agreement()(Case(BOX, IMAGE, 0, saliency))
    assert found.value == pytest.approx(float(known), abs=1e-6)
    assert found.evidence == {}


def test_agreement_needs_what_its_reference_needs() -> None:
    """Occlusion asks for scores only, so a black box will do; Grad-CAM does not."""
    black = Case(Asked(brightness, 64), noise(3, 64, 64).float(), 1, noise(64, 64).float())
    with pytest.raises(SettingError, match="expected a box with gradients for agreement/spearman, got none"):
        measure_case(black, Agreement())
    figure = measure_case(black, Agreement(reference="occlusion"))
    assert figure.protocol == "agreement/spearman?reference=occlusion"
    assert figure.passes > 0
    assert -1 <= figure.value <= 1


def test_a_wrong_reference_is_named_with_close_matches() -> None:
    """As any method."""
    with pytest.raises(UnknownName, match="did you mean grad-cam"):
        Agreement(reference="grad-kam")(Case(BOX, IMAGE, 0, noise(32, 32).float()))


def test_cost_reads_what_was_spent() -> None:
    """And memory that nobody looked at is not a number."""
    one = Case(BOX, IMAGE, 0, noise(32, 32).float(), spent=Spending(7, 0.25, 4096))
    assert [Cost(each)(one).value for each in ("passes", "seconds", "memory")] == [7, 0.25, 4096]  # type: ignore[arg-type]
    assert math.isnan(Cost("memory")(replace(one, spent=Spending(7, 0.25))).value)
    with pytest.raises(SettingError, match="expected what the map cost for cost/passes, got none: leave the measure out"):
        measure_case(replace(one, spent=None), Cost())
