"""Boxes made by chance: heads, outputs, channels, precisions, wrappers and names together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

import salience
from salience.errors import SalienceError
from tests.helpers import apart, noise

SIDE = 12
ENDS = {"right", "refused", "not made"}
HEADS: dict[str, Any] = {
    "logits": lambda z: z,
    "softmax": lambda z: z.softmax(1),
    "sigmoid": lambda z: z.sigmoid(),
    "log-softmax": lambda z: z.log_softmax(1),
    "shares": lambda z: z.exp() / z.exp().sum(1, keepdim=True),
    "clipped": lambda z: z.clamp(0, 1),
    "rectified": lambda z: z.relu(),
}
OUTPUTS: dict[str, Any] = {
    "tensor": lambda y, x: y,
    "tuple": lambda y, x: (y, x),
    "loss first": lambda y, x: {"loss": y.mean(), "scores": y},
    "labels first": lambda y, x: [y.argmax(1), y],
    "features first": lambda y, x: (x.mean((2, 3)).repeat(1, 7), y),
    "features by name": lambda y, x: {"features": x.mean((2, 3)).repeat(1, 7), "logits": y},
    "maps of one pixel": lambda y, x: y[:, :, None, None],
    "squeezed": lambda y, x: y.squeeze(),
    "maps": lambda y, x: y[:, :, None, None].expand(-1, -1, 3, 3),
    "nested": lambda y, x: {"heads": ({"one": y},), "images": x},
}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64, "float16": torch.float16}
WRAPPERS = ("none", "one by one", "in parallel", "quantised", "traced", "no gradients", "inference", "training mode")


class Made(nn.Module):
    """A network put together."""

    def __init__(self, made: Recipe) -> None:
        super().__init__()
        torch.manual_seed(made.seed)
        self.made = made
        self.body = nn.Sequential(nn.Conv2d(made.channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3))
        self.answer = nn.Linear(6, made.columns)
        with torch.no_grad():
            self.answer.weight.mul_(made.scale)

    def forward(self, images: Tensor) -> Any:
        """Answer."""
        if self.made.wrapper == "one by one":
            assert len(images) == 1
        scores = HEADS[self.made.head](self.answer(self.body(images).mean((2, 3))))
        return OUTPUTS[self.made.output](scores, images)


@dataclass(frozen=True)
class Recipe:
    """What a box is made of."""

    head: str
    output: str
    channels: int
    columns: int
    kind: str
    wrapper: str
    names: int | None
    scale: float
    seed: int

    def build(self) -> nn.Module:
        """Make the network."""
        with torch.inference_mode(self.wrapper == "inference"):
            net = Made(self).train(self.wrapper == "training mode").to(TYPES[self.kind])
        if self.wrapper == "in parallel":
            return nn.DataParallel(net)
        if self.wrapper == "quantised":
            return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
        if self.wrapper == "traced":
            example = torch.zeros(2, self.channels, SIDE, SIDE, dtype=TYPES[self.kind])
            return torch.jit.trace(net, example, strict=False, check_trace=False)
        return net.requires_grad_(False) if self.wrapper == "no gradients" else net

    def score(self, images: Tensor) -> Tensor:
        """Return the probabilities that a plain call gives, where what it puts out says which they are."""
        with torch.no_grad():
            net = Made(self).eval().to(TYPES[self.kind])
            logits = net.answer(net.body(images.to(TYPES[self.kind])).mean((2, 3)))
        raw = HEADS[self.head](logits).float()
        if self.columns == 1:
            one = raw if self.head in ("sigmoid", "softmax", "shares", "clipped") else raw.sigmoid()
            return torch.cat([1 - one, one], 1)
        if self.head in ("softmax", "shares", "sigmoid"):
            return raw
        return raw if self.head == "clipped" else raw.softmax(1)


RECIPES = st.builds(
    Recipe,
    head=st.sampled_from(list(HEADS)),
    output=st.sampled_from(list(OUTPUTS)),
    channels=st.sampled_from([1, 3, 3, 4, 13]),
    columns=st.sampled_from([1, 2, 3, 10]),
    kind=st.sampled_from(["float32", "float32", "float32", *TYPES]),
    wrapper=st.sampled_from(["none", *WRAPPERS]),
    names=st.sampled_from([None, None, 2, 3, 10]),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 9),
)


def check(recipe: Recipe) -> str:
    """Load a box and compare it with a plain call; say how it went."""
    try:
        net = recipe.build()
    except Exception:  # noqa: BLE001  # torch itself cannot make it
        return "not made"
    names = None if recipe.names is None else [f"name {index}" for index in range(recipe.names)]
    images = noise(3, recipe.channels, SIDE, SIDE, dtype=torch.float32)
    try:
        box = salience.load(net, size=SIDE, classes=names, backend="exact")
        scores = box(images)
    except SalienceError as problem:
        return "refused" if str(problem).startswith("expected ") and "\n" not in str(problem) else str(problem)
    expected = recipe.score(images)
    assert scores.shape == expected.shape, recipe
    assert len(box.classes) == expected.shape[1]
    within = {"float32": 1e-5, "float64": 1e-5, "float16": 2e-2, "bfloat16": 6e-2}[recipe.kind]
    assert apart(scores, expected) < (0.1 if recipe.wrapper == "quantised" else within), (recipe, box.findings)
    return "right"


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(RECIPES)
def test_a_box_gives_the_scores_of_a_plain_call_or_one_sentence(recipe: Recipe) -> None:
    """None gives others in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert check(recipe) in ENDS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_three_hundred_boxes_give_the_scores_of_a_plain_call_or_one_sentence() -> None:
    """And most of them are no refusals."""
    ends: list[str] = []

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(RECIPES)
    def run(recipe: Recipe) -> None:
        ends.append(check(recipe))

    run()
    print({each: ends.count(each) for each in sorted(set(ends))})  # noqa: T201  # what the test is for
    assert len(ends) >= 300
    assert set(ends) <= ENDS
    assert ends.count("right") > 120
