"""Measures beside the libraries whose definitions they take."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from salience.case import Case
from salience.measures.deletion import Deletion
from salience.measures.insertion import Insertion
from salience.measures.road import Road
from tests.helpers import curved, noise

SIDE = 20
BOX, IMAGE = curved(SIDE, dtype=torch.float32), noise(3, SIDE, SIDE, dtype=torch.float32)
BOX.mean = (0.0, 0.0, 0.0)  # of a box without normalisation: the libraries hide with zeros
SALIENCY = noise(SIDE, SIDE, seed=3, dtype=torch.float32)


class Given:
    """What torchcam's metrics ask of an extractor, with a map that is there already."""

    model = BOX.module

    def __init__(self, saliency: torch.Tensor) -> None:
        self.saliency = saliency

    def __call__(self, *_args: object, **_options: object) -> list[torch.Tensor]:
        return [self.saliency[None]]

    def fuse_cams(self, cams: list[torch.Tensor]) -> torch.Tensor:
        """Give the one."""
        return cams[0]

    _hooks_off = staticmethod(nullcontext)


@pytest.mark.parametrize(("steps", "step"), [(20, None), (14, 29)])
@pytest.mark.parametrize("saliency", [SALIENCY, (SALIENCY * 5).floor()])
def test_torchcam_gives_the_same_deletion_and_insertion(steps: int, step: int | None, saliency: torch.Tensor) -> None:
    """Also with ties, and with a last step that is shorter."""
    metrics = pytest.importorskip("torchcam.metrics")
    theirs = metrics.DeletionInsertionMetric(Given(saliency), lambda raw: raw.softmax(-1), steps=steps)
    theirs.update(IMAGE[None], 1)
    ours = [each("torchcam", step)(Case(BOX, IMAGE, 1, saliency)).value for each in (Deletion, Insertion)]
    assert ours == pytest.approx(list(theirs.summary().values()), abs=1e-6)


@pytest.mark.filterwarnings("ignore")  # their numpy and scipy calls warn
@pytest.mark.parametrize("target", [0, 2])
def test_pytorch_grad_cam_gives_the_same_combined_road(target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its noise, of which nothing is seeded."""
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    monkeypatch.setattr(road.NoisyLinearImputer.__init__, "__defaults__", (0.0, road.neighbors_weights))
    of = [lambda raw: raw.softmax(-1)[target]]
    theirs = road.ROADCombined()(IMAGE[None], SALIENCY[None].numpy(), of, BOX.module)
    ours = Road("combined-2022", noise=0)(Case(BOX, IMAGE, target, SALIENCY))
    assert ours.value == pytest.approx(float(theirs[0]), abs=1e-4)
    assert abs(ours.value) > 1e-3
