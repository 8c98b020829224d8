"""Score-CAM beside torchcam and pytorch-grad-cam, which compute the paper's formula."""

from __future__ import annotations

import pytest
import torch

from salience.engine import maps
from salience.methods.score_cam import ScoreCam
from tests.helpers import noise
from tests.methods.test_sise import box_of, network

IMAGES = noise(1, 3, 16, 16, dtype=torch.float32)


def ours(target: int) -> torch.Tensor:
    """Explain with this library."""
    return ScoreCam()(box_of(network().float()), IMAGES[0], target)


@pytest.mark.parametrize("target", [0, 2])
def test_torchcam_gives_the_same_map(target: int) -> None:
    """It weighs maps that it stretched before; ranks agree, for no channel here is constant."""
    methods = pytest.importorskip("torchcam.methods")
    net, ready = network().float().eval(), (IMAGES - 0.4) / 0.3
    with methods.ScoreCAM(net, "7", input_shape=(3, 16, 16)) as extractor:
        with torch.inference_mode():
            net(ready)
        theirs = maps.resize(extractor(class_idx=target)[0][0], (16, 16))
    assert maps.rank_agreement(theirs, ours(target)) > 0.98


@pytest.mark.filterwarnings("ignore")  # their progress bar and numpy calls warn
@pytest.mark.parametrize("target", [0, 2])
def test_pytorch_grad_cam_gives_the_same_map(target: int) -> None:
    """In rank: it stretches the small map to 0…1, and enlarges then."""
    theirs_of = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    net = network().float().eval()
    with theirs_of.ScoreCAM(model=net, target_layers=[net[7]]) as cam:
        theirs = torch.from_numpy(cam((IMAGES - 0.4) / 0.3, [targets.ClassifierOutputTarget(target)])[0])
    assert maps.rank_agreement(theirs, ours(target)) > 0.98
