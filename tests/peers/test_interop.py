"""Our measures in torchmetrics, our methods in Quantus, and the peers' average drop against ours."""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience import registry, specs
from salience.boxes.torch import TorchBox
from salience.case import Case
from salience.errors import SettingError, UnknownName
from salience.picture import Preparation
from salience.tasks.measure import measure_case
from tests.helpers import apart, noise

SIDE, COUNT = 16, 5
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
IMAGES = noise(COUNT, 3, SIDE, SIDE, dtype=torch.float32)
MAPS = noise(COUNT, SIDE, SIDE, seed=1, dtype=torch.float32)
TRUTHS = noise(COUNT, SIDE, SIDE, seed=2) < 0.2
TRUTHS[2] = False


def network() -> nn.Module:
    """Make a random network."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(96, 4),
    ).eval()  # fmt: skip  # a column of layers would fill the page


def box() -> TorchBox:
    """Make a box that normalises."""
    return TorchBox(network(), Preparation((SIDE, SIDE), mean=MEAN, std=STD), backend="exact")


def normalised(images: Tensor = IMAGES) -> Tensor:
    """Do what the box does to an image."""
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def singly(spec: str) -> list[float]:
    """Measure each case."""
    cases = [Case(box(), *each) for each in zip(IMAGES, [0, 1, 2, 3, 0], MAPS, TRUTHS, strict=True)]
    return [measure_case(each, specs.make_measure(spec)).value for each in cases]


@pytest.fixture
def saliency() -> Any:
    """Give the metric."""
    pytest.importorskip("torchmetrics")
    from salience.interop.torchmetrics import Saliency

    return Saliency


def batch(part: slice) -> tuple[Any, ...]:
    """Give a batch of what `update` takes."""
    return box(), IMAGES[part], torch.tensor([0, 1, 2, 3, 0])[part], MAPS[part], TRUTHS[part]


@pytest.mark.parametrize("spec", ["average-drop", "energy", "sparsity/entropy"])
def test_split_or_whole_gives_the_same_mean(saliency: Any, spec: str) -> None:
    """Three batches, one batch, and the states of two metrics put together as two processes do."""
    values = np.array(singly(spec))
    whole, split, first, second = (saliency(spec) for _ in range(4))
    whole.update(*batch(slice(None)))
    for part in (slice(0, 1), slice(1, 3), slice(3, None)):
        split.update(*batch(part))
    first.update(*batch(slice(0, 2)))
    second.update(*batch(slice(2, None)))
    first.merge_state(second)
    for metric in (whole, split, first):
        assert float(metric.compute()) == pytest.approx(np.nanmean(values), abs=1e-6)


def test_an_undefined_case_is_left_out_of_the_mean(saliency: Any) -> None:
    """The third picture has no object; alone it has no mean."""
    assert [math.isnan(each) for each in singly("energy")] == [False, False, True, False, False]
    metric = saliency("energy")
    metric.update(*batch(slice(2, 3)))
    assert math.isnan(metric.compute())
    metric.update(*batch(slice(3, 4)))
    assert float(metric.compute()) == pytest.approx(singly("energy")[3])


def test_forward_clone_and_reset_are_torchmetrics_own(saliency: Any) -> None:
    """A batch has its own value, a clone goes on for itself, and reset forgets."""
    metric = saliency("average-drop")
    values = singly("average-drop")
    assert float(metric(*batch(slice(0, 1)))) == pytest.approx(values[0], abs=1e-6)
    other = metric.clone()
    other.update(*batch(slice(1, 2)))
    assert float(metric.compute()) == pytest.approx(values[0], abs=1e-6)
    assert float(other.compute()) == pytest.approx((values[0] + values[1]) / 2, abs=1e-6)
    other.reset()
    other.update(*batch(slice(4, 5)))
    assert float(other.compute()) == pytest.approx(values[4], abs=1e-6)


def test_the_direction_is_the_measures_and_a_need_is_said(saliency: Any) -> None:
    """A tracker reads the direction; without truths a measure of place cannot be taken."""
    specs = ("average-drop", "increase", "sparsity/gini", "sparsity/entropy")
    assert [saliency(each).higher_is_better for each in specs] == [False, True, True, False]
    with pytest.raises(SettingError, match="expected the place of the object"):
        saliency("energy").update(*batch(slice(None))[:-1])


@pytest.fixture
def quantus() -> Any:
    """Give Quantus, whose import warns of packages that it would like to have."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def explained(quantus: Any, metric: Any, **about: Any) -> list[float]:
    """Run a metric of Quantus on our maps."""
    from salience.interop.quantus import explainer

    inputs, targets = normalised().numpy(), np.array([0, 1, 2, 3, 0])
    found: list[float] = metric(
        model=network(), x_batch=inputs, y_batch=targets, explain_func=explainer("gradient"), device="cpu", **about
    )
    return found


def quiet(**about: Any) -> dict[str, Any]:
    """Silence Quantus."""
    return {"disable_warnings": True, "display_progressbar": False, **about}


def test_the_box_of_quantus_model_is_the_box_without_its_normalisation(quantus: Any) -> None:
    """A gradient in normalised space is steeper by each channel's deviation, if they are equal by one factor."""
    from salience.interop.quantus import explainer

    even = TorchBox(network(), Preparation((SIDE, SIDE), mean=MEAN, std=(0.2,) * 3), backend="exact")
    inputs = (IMAGES - torch.tensor(MEAN)[:, None, None]) / 0.2
    maps = explainer("gradient")(network(), inputs.numpy(), np.array([0, 1, 2, 3, 0]))
    assert maps.shape == (COUNT, 1, SIDE, SIDE)
    for found, image, target in zip(maps, IMAGES, [0, 1, 2, 3, 0], strict=True):
        assert apart(torch.tensor(found[0]), registry.make_method("gradient")(even, image, target) * 0.2) < 1e-6


def test_methods_that_mask_show_zero_and_a_box_of_ones_own_undoes_the_normalisation(quantus: Any) -> None:
    """The mean colour is 0 in normalised space, so both roads give one map; settings come from either place."""
    from salience.interop.quantus import explainer

    inputs, targets = normalised().numpy()[:2], np.array([0, 1])
    known = [
        registry.make_method("occlusion", window=4, stride=2)(box(), *each) for each in zip(IMAGES[:2], [0, 1], strict=True)
    ]
    bare = explainer("occlusion", window=4)(network(), inputs, targets, stride=2, device="cpu")
    own = explainer("occlusion", box(), window=4, stride=2)(nn.Identity(), inputs, targets)
    for maps in (bare, own):
        assert apart(torch.tensor(maps[:, 0]), torch.stack(known)) < 1e-6
    with pytest.raises(UnknownName, match="windows"):
        explainer("occlusion")(network(), inputs, targets, windows=4)


def test_one_channel_is_explained_and_channels_come_first() -> None:
    """Digits have one; hiding a corner of them leaves 0 there."""
    from salience.interop.quantus import explainer

    inputs = noise(1, 1, 12, 12, dtype=torch.float32)
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 4))
    explain = explainer("occlusion", window=3, stride=3)
    hidden = inputs.clone()
    hidden[:, :, :3, :3] = 0
    whole, less = (float(net(each).softmax(1)[0, 2].detach()) for each in (inputs, hidden))
    assert explain(net, inputs.numpy(), np.array([2]))[0, 0, 0, 0] == pytest.approx(whole - less, abs=1e-6)
    with pytest.raises(SettingError, match=r"expected inputs \(n c h w\) .* got \(1, 12, 12, 1\): put the channels first"):
        explain(net, inputs.numpy().transpose(0, 2, 3, 1), np.array([2]))


def test_quantus_sparseness_is_our_gini_and_its_complexity_our_entropy(quantus: Any) -> None:
    """One map, two libraries; Quantus adds 1e-7 to each pixel of a map whose highest is 1."""
    metric = quantus.Sparseness(**quiet(abs=True, normalise=True))
    even = explained(quantus, metric)
    entropy = explained(quantus, quantus.Complexity(**quiet(abs=True, normalise=True)))
    from salience.interop.quantus import explainer

    maps = explainer("gradient")(network(), normalised().numpy(), np.array([0, 1, 2, 3, 0]))[:, 0]
    for at, each in enumerate(torch.tensor(maps).double()):
        case = Case(box(), IMAGES[at], 0, each)
        assert specs.make_measure("sparsity/gini")(case).value == pytest.approx(even[at], abs=1e-6)
        assert specs.make_measure("sparsity/entropy")(case).value == pytest.approx(entropy[at], abs=1e-5)


def test_quantus_pixel_flipping_runs_on_our_maps(quantus: Any) -> None:
    """At its last step nothing is left of the image: the probability is that of the baseline."""
    metric = quantus.PixelFlipping(**quiet(features_in_step=SIDE * SIDE, perturb_baseline=0.0))
    curves = np.array(explained(quantus, metric, softmax=True))
    with torch.no_grad():
        nothing = network()(torch.zeros(1, 3, SIDE, SIDE)).softmax(1)[0]
    assert curves.shape == (COUNT, 3)
    assert curves[:, -1] == pytest.approx([float(nothing[at]) for at in (0, 1, 2, 3, 0)], abs=1e-6)
    assert np.ptp(curves, axis=1).min() > 0


class Given:
    """What torchcam asks for a map, giving one that is there."""

    def __init__(self, saliency: Tensor) -> None:
        self.model, self.saliency = network(), saliency

    def __call__(self, *about: Any, **more: Any) -> list[Tensor]:
        """Give it."""
        return [self.saliency[None]]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        """Give the only one."""
        return cams[0]

    def _hooks_off(self) -> Any:
        return nullcontext()


def peaked(at: int) -> Tensor:
    """Bring a map to 0…1, as the peers hand theirs on."""
    low, high = MAPS[at].aminmax()
    return (MAPS[at] - low) / (high - low)


@pytest.mark.parametrize("at", range(COUNT))
def test_torchcams_drop_and_increase_are_ours(at: int) -> None:
    """Relative to the probability, over the network's own input."""
    metrics = pytest.importorskip("torchcam.metrics")
    metric = metrics.ClassificationMetric(Given(peaked(at)), lambda logits: logits.softmax(-1))
    metric.update(normalised()[at : at + 1], 2)
    known = metric.summary()
    case = Case(box(), IMAGES[at], 2, MAPS[at])
    assert specs.make_measure("average-drop/torchcam")(case).value == pytest.approx(known["avg_drop"], abs=1e-6)
    assert specs.make_measure("increase/torchcam")(case).value == known["conf_increase"]


@pytest.fixture
def gradcam() -> Any:
    """Give pytorch-grad-cam's metric and targets."""
    metrics = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    kinds = {"logit": targets.ClassifierOutputTarget, "softmax": targets.ClassifierOutputSoftmaxTarget}
    return SimpleNamespace(drop=metrics.DropInConfidence(), rise=metrics.IncreaseInConfidence(), kinds=kinds)


@pytest.mark.parametrize("kind", ["logit", "softmax"])
def test_pytorch_grad_cams_drop_and_increase_are_ours(gradcam: Any, kind: str) -> None:
    """A difference, not a quotient, of logits unless one asks for probabilities."""
    maps, drops = np.stack([peaked(at).numpy() for at in range(COUNT)]), 0.0
    for target in range(4):
        asked = (normalised(), maps, [gradcam.kinds[kind](target)] * COUNT, network())
        known, risen = gradcam.drop(*asked), gradcam.rise(*asked)
        for at in range(COUNT):
            case = Case(box(), IMAGES[at], target, MAPS[at])
            assert specs.make_measure(f"average-drop/grad-cam-{kind}")(case).value == pytest.approx(known[at], abs=1e-6)
            assert specs.make_measure(f"increase/grad-cam-{kind}")(case).value == risen[at]
        drops += known.sum()
    assert drops > 0
