"""Randomisation: a map that is about the network changes when the network forgets what it learnt."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from statistics import fmean
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import salience
from salience.boxes import toy
from salience.boxes.torch import TorchBox
from salience.case import Case
from salience.cli.files import SAMPLE
from salience.errors import SettingError
from salience.measures.randomisation import Randomisation, plan_cascade
from salience.methods.gradient import Gradient
from salience.methods.guided_backprop import GuidedBackprop
from salience.methods.input_x_gradient import InputXGradient
from salience.picture import Preparation, read
from salience.tasks.measure import measure_case
from salience.types import Image, Map
from tests.helpers import Asked, brightness, noise

SIDE = 16
IMAGE = noise(3, SIDE, SIDE).float()


def network(seed: int) -> TorchBox:
    """Make a small network for two classes."""
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    return TorchBox(net, Preparation((SIDE, SIDE)), ("red", "green"), backend="exact")


def gradient(box: Any, image: Image, target: Any, seed: int | None) -> Map:
    """Look at the network."""
    return Gradient()(box, image, target)


def edges(box: Any, image: Image, target: Any, seed: int | None) -> Map:
    """Look at the picture only."""
    return image.mean(0).diff(dim=0, prepend=image.mean(0)[:1]).abs()


def case(explain: Any, target: Any = 0) -> Case:
    """Explain the image."""
    box = network(0)
    return Case(box, IMAGE, target, explain(box, IMAGE, 0, None), explain=explain)


@pytest.mark.parametrize(
    ("protocol", "drawn"),
    [
        ("cascade", [["6"], ["2", "6"], ["0", "2", "6"]]),
        ("independent", [["6"], ["2"], ["0"]]),
    ],
)
def test_it_is_the_mean_rank_agreement_with_each_network(protocol: str, drawn: list[list[str]]) -> None:
    """The three modules with weights, from the output: one is also a quarter, two a half, three all."""
    one = case(gradient)
    slow = []
    for names in drawn:
        other = gradient(network(0).reinitialise(names), IMAGE, 0, None)
        slow.append(float(spearmanr(one.saliency.flatten(), other.flatten()).statistic))
    found = Randomisation(protocol)(one)  # type: ignore[arg-type]
    assert found.evidence["curve"]["y"] == pytest.approx(slow, abs=1e-6)
    assert found.evidence["curve"]["x"] == pytest.approx([1 / 3, 2 / 3, 1])
    assert found.value == pytest.approx(fmean(slow), abs=1e-6)


def test_the_cascade_reaches_all_in_five_steps() -> None:
    """The logit layer, then quarters."""
    assert plan_cascade(40) == [1, 10, 20, 30, 40]
    assert plan_cascade(6) == [1, 2, 3, 5, 6]
    assert plan_cascade(1) == [1]
    assert plan_cascade(0) == []


@pytest.mark.parametrize("protocol", ["cascade", "independent", "logit"])
def test_an_edge_detector_fails_and_the_gradient_does_not(protocol: str) -> None:
    """What looks at the picture only stays as it is: that is what the measure is for."""
    assert Randomisation(protocol)(case(edges)).value == pytest.approx(1)  # type: ignore[arg-type]
    assert Randomisation(protocol)(case(gradient)).value < 0.9  # type: ignore[arg-type]


def test_another_seed_draws_other_networks_and_the_box_stays() -> None:
    """And the same seed the same."""
    one = case(gradient)
    before = one.box.fingerprint
    values = [Randomisation(seed=seed)(one).value for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert one.box.fingerprint == before


def test_a_map_that_becomes_constant_has_nothing_in_common() -> None:
    """It is counted; a map that was constant from the start is not defined."""
    one = case(edges)
    blank = replace(one, explain=lambda box, image, target, seed: torch.zeros(SIDE, SIDE))
    found = Randomisation()(blank)
    assert (found.value, found.evidence["blank"]) == (0, 3)
    assert math.isnan(Randomisation()(replace(blank, saliency=torch.ones(SIDE, SIDE))).value)
    broken = replace(one, explain=lambda box, image, target, seed: torch.full((SIDE, SIDE), math.nan))
    assert math.isnan(Randomisation()(broken).value)


def test_logit_asks_for_another_class() -> None:
    """Every other class may be drawn, and never the target; a contrast has no other class."""
    asked = []

    def note(box: Any, image: Image, target: Any, seed: int | None) -> Map:
        asked.append(target)
        return edges(box, image, target, seed)

    box = toy.load("colour", size=SIDE)
    for seed in range(20):
        Randomisation("logit", seed=seed)(Case(box, IMAGE, 1, edges(box, IMAGE, 1, None), explain=note))
    assert set(asked) == {0, 2}
    assert math.isnan(Randomisation("logit")(case(edges, target=(0, 1))).value)


def test_weights_are_drawn_in_torch_networks_only() -> None:
    """A black box is refused by what the measure needs, before a pass; "logit" takes any box."""
    black = Case(Asked(brightness, SIDE), IMAGE, 1, edges(None, IMAGE, 1, None), explain=edges)
    with pytest.raises(SettingError, match="expected a box with gradients for randomisation/cascade, got none"):
        measure_case(black, Randomisation())
    with pytest.raises(SettingError, match="expected a torch network for randomisation/cascade, got asked"):
        Randomisation()(black)
    assert measure_case(black, Randomisation("logit")).value == pytest.approx(1)


def patches(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a red or a green patch each, at a random place on noise."""
    source = torch.Generator().manual_seed(seed)
    images = 0.4 + 0.2 * torch.rand(count, 3, SIDE, SIDE, generator=source)
    colours = torch.randint(0, 2, (count,), generator=source)
    for image, colour, (top, left) in zip(images, colours, torch.randint(0, 11, (count, 2), generator=source), strict=True):
        image[:2, top : top + 5, left : left + 5] = 0.2
        image[colour, top : top + 5, left : left + 5] = 1
    return images, colours


@cache
def taught(seed: int = 1, permuted: bool = False) -> TorchBox:
    """Train on the colour of the patch, or on the same labels dealt out at random."""
    images, colours = patches(32, 0)
    if permuted:
        colours = colours[torch.randperm(len(colours), generator=torch.Generator().manual_seed(3))]
    box = network(seed)
    weights = list(box.module.parameters())
    moves = [torch.zeros_like(each) for each in weights]
    for _ in range(200):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(box.module(images), colours), weights)
        for weight, move, gradient in zip(weights, moves, gradients, strict=True):
            weight.data -= 0.1 * move.mul_(0.9).add_(gradient)
    return box


def again() -> TorchBox:
    """Train once more, from another start."""
    return taught(2)


def permuted() -> TorchBox:
    """Train on permuted labels."""
    return taught(2, permuted=True)


@pytest.mark.slow
def test_a_map_of_permuted_labels_is_less_alike_than_one_of_the_same_labels() -> None:
    """The map follows what was learnt; an edge detector does not notice."""
    images, colours = patches(10, 1)
    assert float((taught()(images).argmax(1) == colours).float().mean()) == 1

    def mean(explain: Any, other: str) -> float:
        measure = Randomisation("labels", other=f"py:{__name__}:{other}")
        cases = ((image, int(colour)) for image, colour in zip(images, colours, strict=True))
        return fmean(measure(Case(taught(), x, k, explain(taught(), x, k, None), explain=explain)).value for x, k in cases)

    product = lambda box, image, target, seed: InputXGradient()(box, image, target)  # noqa: E731  # one line says it
    assert mean(product, "again") > 0.7
    assert mean(product, "permuted") < 0.5
    assert mean(edges, "permuted") == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "most"), [("cascade", 0.2), ("logit", 0.3)])
def test_guided_backpropagation_hardly_notices_a_network_without_its_head(protocol: str, most: float) -> None:
    """The finding of the papers, on the default box and the sample: its map follows edges, the gradient's the class."""
    box = salience.load(backend="exact")
    image, _ = box.preparation(read(SAMPLE))  # type: ignore[attr-defined]
    values = []
    for method in (GuidedBackprop(), InputXGradient()):
        explain = lambda box, image, target, seed, method=method: method(box, image, target)  # noqa: E731  # as above
        values.append(Randomisation(protocol)(Case(box, image, 967, explain(box, image, 967, 0), explain=explain)).value)  # type: ignore[arg-type]
    assert values[0] > 0.5
    assert values[1] < most


def test_labels_without_a_fitting_box_are_refused() -> None:
    """None given, or another network."""
    with pytest.raises(SettingError, match="expected a box trained on permuted labels .* give other=SPEC"):
        Randomisation("labels")(case(edges))
    with pytest.raises(SettingError, match="permuted labels, 2 classes at 16×16, got 3 classes at 32×32: give another"):
        Randomisation("labels", other="toy:colour")(case(edges))
