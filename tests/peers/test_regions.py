"""LIME and KernelSHAP beside Captum, given the same regions and masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from salience.engine.estimate.linear_surrogate import Segmentation
from salience.methods.kernel_shap import KernelShap
from salience.methods.lime import Lime
from tests.helpers import curved, noise

IMAGE, BOX, MASKS, WIDTH = noise(3, 8, 8), curved(), 200, 0.25
CUT = Segmentation(IMAGE, 12, 0)


def theirs(method: Any, masks: Tensor) -> Tensor:
    """Let Captum explain by these masks; returns a value a region."""

    def given(*_: Any, **__: Any) -> Iterator[Tensor]:
        yield from masks[:, None].long()

    method.perturb_func = given
    values: Tensor = method.attribute(
        IMAGE[None], baselines=0.5, target=1, feature_mask=CUT.labels[None, None], n_samples=len(masks),
        return_input_shape=False,
    )  # fmt: skip  # a column of arguments would fill the page
    return values[0].double()


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_lime_is_captums_with_a_ridge_and_a_distance_between_bits(ridge: float) -> None:
    """Its own default measures the distance between images and has a lasso; both are arguments there."""
    attr = pytest.importorskip("captum.attr")
    models = pytest.importorskip("captum._utils.models.linear_model")
    pytest.importorskip("sklearn")

    def similarity(_: Tensor, __: Tensor, bits: Tensor, **___: Any) -> Tensor:
        distance = 1 - torch.cosine_similarity(bits.double(), torch.ones_like(bits).double())
        return torch.exp(-(distance**2) / (2 * WIDTH**2))

    method = Lime(masks=MASKS, regions=12, width=WIDTH, ridge=ridge)
    masks = torch.cat([lot.bits for lot in method.sample_lots(CUT, MASKS)])
    known = theirs(attr.Lime(BOX, models.SkLearnRidge(alpha=ridge), similarity), masks)
    found = method(BOX, IMAGE, 1)
    assert float((found - known[CUT.labels]).abs().max()) < 1e-5 * float(known.abs().max())


@pytest.mark.filterwarnings("ignore")  # theirs
def test_kernel_shap_is_captums_but_for_its_nearly_exact_constraint() -> None:
    """Captum weighs the ends a million times, where we hold the sum exactly."""
    attr = pytest.importorskip("captum.attr")
    pytest.importorskip("sklearn")
    method = KernelShap(masks=MASKS, regions=12, ridge=0)
    ends = torch.tensor([[True], [False]]).expand(2, CUT.count)
    masks = torch.cat([ends, *(lot.bits for lot in method.sample_lots(CUT, MASKS - 2))])
    known = theirs(attr.KernelShap(BOX), masks)
    found = method(BOX, IMAGE, 1)
    assert float((found - known[CUT.labels]).abs().max()) < 1e-4 * float(known.abs().max())
