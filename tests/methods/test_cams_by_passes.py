"""Eigen-CAM, Ablation-CAM and Recipro-CAM, which need no gradients, against their definitions."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from salience.boxes.torch import TorchBox, wrap
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError, UnknownName
from salience.methods import recipro_cam
from salience.methods.ablation_cam import AblationCam
from salience.methods.eigen_cam import EigenCam
from salience.methods.recipro_cam import ReciproCam
from tests.helpers import apart, noise
from tests.methods.test_cams import CLOSE, IMAGE, TWINS, boxed, network, pooled, slow_enlarged

ALL = [*(method for method, _ in TWINS), EigenCam, AblationCam, ReciproCam]


def features(net: nn.Sequential, layer: int = 3) -> Tensor:
    """Run up to a layer, whose maps the box gives in single precision."""
    return net[: layer + 1](IMAGE[None]).detach()[0].float().double()


def onward(net: nn.Sequential, maps: Tensor, target: int, layer: int = 3) -> float:
    """Run on from a layer: the probability of the target."""
    return float(net[layer + 1 :](maps[None]).detach().softmax(1)[0, target])


def close(found: Tensor, twin: Tensor) -> bool:
    """Say whether two maps are equal up to the rounding of single precision."""
    return found.shape == twin.shape and apart(found, twin) <= 2 * CLOSE * float(twin.abs().max())


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("centred", [False, True])
def test_eigen_cam_equals_power_iteration_in_plain_loops(layer: int, centred: bool) -> None:
    """The direction that all places share most, its sign such that the map rises with the strength of the features."""
    net = network()
    maps = features(net, layer)
    strength = maps.abs().sum(0)
    if centred:
        maps = torch.stack([each - each.mean() for each in maps])
    places = [maps[:, y, x] for y in range(maps.shape[1]) for x in range(maps.shape[2])]
    direction = torch.ones(len(maps), dtype=torch.float64)
    for _ in range(800):
        direction = sum((place * (place @ direction) for place in places), torch.zeros_like(direction))
        direction /= direction.norm()
    twin = torch.stack([place @ direction for place in places]).reshape(strength.shape)
    if float(torch.corrcoef(torch.stack([twin.flatten(), strength.flatten()]))[0, 1]) < 0:
        twin = -twin
    assert close(EigenCam(layer=str(layer), centred=centred)(boxed(net), IMAGE, 0), slow_enlarged(twin))


def test_eigen_cam_of_one_map_is_the_map() -> None:
    """One channel, one direction; and whatever the class, it is the same."""
    net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3)).double()
    with torch.no_grad():
        net[0].weight.fill_(1)
    one, other = EigenCam().many(boxed(net), IMAGE[None], [0, 2])
    assert close(one.saliency, features(net, 1)[0])
    assert torch.equal(one.saliency, other.saliency)


def test_eigen_cam_reads_a_transformer_before_its_normalisation() -> None:
    """Normalised tokens are all equally strong; methods with gradients read what goes into the attention."""
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, num_classes=3)
    box, image = wrap(net, size=64, backend="exact"), noise(3, 64, 64, dtype=torch.float32)
    (found,) = EigenCam().many(box, image[None], [0])
    assert box.layers()[-1] == "blocks.3.norm1"
    assert found.evidence["layers"] == ("blocks.3.norm1:in",)
    assert torch.equal(found.saliency, EigenCam(layer="blocks.3:in")(box, image, 0))


def test_ablation_cam_equals_its_definition_in_plain_loops() -> None:
    """Also where one map is zero everywhere: asked about or not, it has no weight."""
    net = network()
    with torch.no_grad():
        net[2].bias[1] = -9
    maps = features(net)
    assert float(maps[1].abs().max()) == 0
    for target in range(3):
        whole, small = onward(net, maps, target), torch.zeros(maps.shape[1:], dtype=torch.float64)
        for k in range(len(maps)):
            without = maps.clone()
            without[k] = 0
            small += (whole - onward(net, without, target)) / whole * maps[k]
        with start_run() as run:
            assert close(AblationCam(layer="3")(boxed(net), IMAGE, target), slow_enlarged(small.clamp(min=0)))
        assert run.passes == 2 + 4


def test_ablation_cam_on_a_linear_box_weighs_by_shares() -> None:
    """Without a softmax and without a bias, a map's weight is its share of the score: what CAM gives, times the mean."""
    net = pooled()
    with torch.no_grad():
        net[-1].weight.abs_()
        net[-1].bias.zero_()
    maps = features(net)
    shares, box = net[-1].weight[1].detach() * maps.mean((1, 2)), boxed(net)
    box.head = "none"
    assert close(AblationCam()(box, IMAGE, 1), torch.einsum("k,kyx->yx", shares / shares.sum(), maps))


@pytest.mark.parametrize("spread", ["gaussian", "point"])
def test_recipro_cam_equals_its_definition_in_plain_loops(spread: Any) -> None:
    """One place's features, at that place or dealt out around it, and nothing else."""
    net = network()
    maps, twin = features(net), torch.zeros(4, 4, dtype=torch.float64)
    for y, x in product(range(4), range(4)):
        weight = torch.zeros(4, 4, dtype=torch.float64)
        for row, column in product(range(4), range(4)):
            if abs(row - y) < 2 and abs(column - x) < 2:
                weight[row, column] = 4 >> abs(row - y) + abs(column - x)
        weight = weight / weight.sum() if spread == "gaussian" else (weight == 4).double()
        twin[y, x] = onward(net, maps[:, y, x][:, None, None] * weight, 2)
    assert close(ReciproCam(layer="3", spread=spread)(boxed(net), IMAGE, 2), slow_enlarged(twin))


def test_where_places_are_averaged_the_gaussian_is_the_point() -> None:
    """The average does not see where the features went, and none are lost at the border."""
    box = boxed(pooled())
    assert apart(ReciproCam()(box, IMAGE, 1), ReciproCam(spread="point")(box, IMAGE, 1)) <= CLOSE


def test_recipro_cam_at_a_layer_of_one_place_gives_the_score_everywhere() -> None:
    """Nothing is left out."""
    box = boxed(pooled())
    assert close(ReciproCam(layer="4", spread="point")(box, IMAGE, 1), box(IMAGE[None])[0, 1].expand(8, 8))


def test_recipro_cam_makes_do_with_fewer_places_on_a_budget() -> None:
    """The rows and columns in the middle of thirds."""
    box = boxed(pooled())
    with start_run(10) as run:
        (found,) = ReciproCam().many(box, IMAGE[None], [1])
    assert run.passes == 1 + found.evidence["places"] == 10
    assert close(found.saliency, slow_enlarged(ReciproCam()(box, IMAGE, 1)[[1, 4, 6]][:, [1, 4, 6]].double()))
    for rows, columns, most in product((1, 2, 7, 8), (1, 5, 14), (4, 6, 9, 50, 200)):
        places = math.prod(map(len, recipro_cam.space_evenly(rows, columns, most)))
        assert places == rows * columns if rows * columns <= most else places <= most
    with start_run(4), pytest.raises(BudgetError, match="at least 5 passes for the places of 3, got 4 passes"):
        ReciproCam()(box, IMAGE, 1)


@pytest.mark.parametrize("method", [AblationCam, ReciproCam])
def test_all_passes_are_counted_shared_and_bounded(method: Any) -> None:
    """Three targets cost what one costs; too little memory, passes or time is met or said."""
    box, most = boxed(network()), []

    class Small(TorchBox):
        def forward_from(self, image: Tensor, layer: str, features: Tensor) -> Tensor:
            most.append(len(features))
            if len(features) > 3:
                raise MemoryError
            return super().forward_from(image, layer, features)

    with start_run() as one:
        alone = method()(box, IMAGE, 2)
    with start_run() as three:
        found = method().many(Small(box.module, box.preparation, "abc", backend="exact"), IMAGE[None], [0, 1, 2])
    assert one.passes == three.passes
    assert max(most) > 3
    assert apart(found[2].saliency, alone) <= CLOSE
    with start_run("0.000001s"), pytest.raises(BudgetError, match="expected time for at least"):
        method()(box, IMAGE, 2)
    if method is AblationCam:
        with start_run(3), pytest.raises(BudgetError, match="at least 7 passes for the 6 changes of the features at 3"):
            method()(box, IMAGE, 2)


@pytest.mark.parametrize("method", ALL)
def test_the_rest_of_a_batch_changes_nothing(method: Any) -> None:
    """Five images at once, in parts of any size, or each alone."""
    box, images, targets = boxed(network()), noise(5, 3, 8, 8, seed=3), [0, 1, 2, (0, 1), 1]
    alone = [method()(box, image, target) for image, target in zip(images, targets, strict=True)]
    for batch in (1, 2, 5):
        with start_run(batch=batch):
            found = method().many(box, images, targets)
        assert all(close(each.saliency, one) for each, one in zip(found, alone, strict=True))


@pytest.mark.parametrize("method", [EigenCam, AblationCam, ReciproCam])
def test_what_cannot_be_explained_is_refused_in_words(method: Any) -> None:
    """A layer that there is not, and targets that do not fit the images; before many passes are spent."""
    box = boxed(network())
    with pytest.raises(UnknownName, match="expected the name of a layer, got '9'"):
        method(layer="9")(box, IMAGE, 0)
    with pytest.raises(SettingError, match="expected one target an image, or several for one image, got 3 for 2"):
        method().many(box, IMAGE.expand(2, -1, -1, -1), [0, 1, 2])
    with pytest.raises(SettingError, match="expected spread gaussian or point, got 'wide'"):
        ReciproCam(spread="wide")
