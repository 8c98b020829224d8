"""One contract for every method in the register, and for every variant of those that have some.

Each class of complaint that users of such libraries make is a test here, so a new method inherits all of them.
"""

from __future__ import annotations

import gc
import tempfile
import threading
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import psutil
import pytest
import torch
from torch import Tensor, nn

import salience
from salience import registry, specs
from salience.boxes import toy
from salience.boxes.torch import TorchBox, wrap
from salience.engine import maps
from salience.engine.query.run import start_run
from salience.errors import BoxError, TargetError
from salience.estimates import BatchedMethod
from salience.picture import Preparation
from salience.types import BlackBox, OpenBox
from tests import trained
from tests.helpers import apart

SIDE = 32
BLIND = {"eigen-cam", "attention-rollout"}  # methods that look at the network alone and not at the class
RELATIVE = {"score-cam"}  # weighs feature maps against each other, and the toy has one for each colour that is there
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
ATTENTION = {"attention-rollout", "attention-relevance"}  # methods for transformers, which have tests of their own
UNASKED = {"p-tame"}  # a method that was trained on the box and never asks it again
# Windows and strides that fit a toy; the official attention, a second a round, has tests of its own.
WINDOWS = {"window": 12, "stride": 3, "rounds": 3}
FITTING = {
    "occlusion": {"window": 8, "stride": 2},
    "iassa-official": {**WINDOWS, "features": "none"},
    "iassa-intent": WINDOWS,
    "de-cam-r1": {"cells": 7},
    "p-tame": {"explainer": trained.file(), "any_box": True},  # weights set by hand, as the toy's are
    "extremal-perturbation": {"areas": (0.06,), "steps": 24, "cell": 4, "sigma": 3.0, "blur": 0.0},
}
# As few passes as find the patch; a slow test takes what a method takes by itself.
FEW = {
    "iassa-intent": {"rounds": 2},
    "rise": {"masks": 600},
    "mc-rise": {"masks": 600},
    "multiscale-rise": {"masks": 400},
    "sobol": {"designs": 8},
    "hsic": {"masks": 256},
    "kernel-shap": {"masks": 256},
    "lime": {"masks": 256},
}
BUDGET = {"de-cam": 300}  # no setting says how many


def roster(few: bool = True) -> list[Any]:
    """Make every method as it is by default and in each of its variants, with settings that fit toys."""
    found = []
    for name in registry.list_names("methods"):
        if name in ATTENTION:
            continue
        cls = registry.find_method(name)
        varied = "variant" in {each.name for each in fields(cls)}
        for variant in get_args(get_type_hints(cls)["variant"]) if varied else [None]:
            called = f"{name}-{variant}" if variant else name
            chosen = {"variant": variant} if variant else {}
            fitting = FITTING.get(called, {}) | (FEW.get(called, {}) if few else {})
            found.append(pytest.param(cls(**fitting, **chosen), id=called))
    return found


# One of each need: with these the dear tests are quick, with all of them they are slow.
ONE_OF_A_NEED = {"rise", "sise", "grad-cam"}


def with_slow(every: list[Any], quick: set[str] = ONE_OF_A_NEED) -> list[Any]:
    """Mark as slow what is of a kind that another one stands for."""
    return [each if each.id in quick else pytest.param(*each.values, id=each.id, marks=pytest.mark.slow) for each in every]


every = pytest.mark.parametrize("method", roster())
some = pytest.mark.parametrize("method", with_slow(roster()))


def explained(method: Any, box: Any, image: Tensor | None = None, target: Any = 0, **limits: Any) -> Tensor:
    """Call a method as it is, in few passes unless the caller says how many."""
    with start_run(**{"budget": BUDGET.get(registry.find_name(method))} | limits):
        return method(box, toy.picture(SIDE) if image is None else image, target)


@cache
def expected(method: Any) -> Tensor:
    """Explain the picture once, to compare other ways with it."""
    return explained(method, toy.load("colour"), batch=32)


def inside(saliency: Tensor, top: int = 6, left: int = 14, wide: int = 8) -> float:
    """Return the share of the 64 highest pixels that lie in the planted patch."""
    where = torch.zeros(saliency.shape, dtype=torch.bool)
    where.view(-1)[saliency.flatten().topk(64).indices] = True
    return float(where[top : top + wide, left : left + wide].sum()) / 64


@every
def test_a_map_has_the_images_size_and_finite_values_that_differ(method: Any) -> None:
    """A blank or broken map is no answer."""
    found = explained(method, toy.load("colour"))
    assert found.shape == (SIDE, SIDE)
    assert found.dtype == torch.float32
    assert maps.find_flaws(found) == []


@every
def test_images_need_not_be_square(method: Any) -> None:
    """Rows and columns are never swapped."""
    box = TorchBox(toy.Colour(), Preparation((24, 40)), ("red", "green", "blue"))
    image = torch.full((3, 24, 40), 0.4)
    image[:, 3:11, 25:33] = torch.tensor([1.0, 0, 0])[:, None, None]
    found = explained(method, box, image)
    assert found.shape == (24, 40)
    assert inside(found, 3, 25) >= 0.5


@every
@pytest.mark.parametrize("colour", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 2))])
def test_the_planted_colour_is_found(method: Any, colour: int) -> None:
    """The box answers to a colour, wherever it is; chance is 0.06 of the top 64 pixels."""
    assert inside(explained(method, toy.load("colour"), toy.picture(SIDE, colour), colour)) >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", roster(few=False))
@pytest.mark.parametrize("colour", [0, 1, 2])
def test_the_planted_colour_is_found_with_all_passes(method: Any, colour: int) -> None:
    """As many as a method takes when nobody says how many."""
    assert inside(explained(method, toy.load("colour"), toy.picture(SIDE, colour), colour, budget=None)) >= 0.5


@every
def test_important_is_high_and_what_speaks_against_is_low(method: Any) -> None:
    """The patch of the class lies above the rest, and that of a rival below it."""
    if registry.find_name(method) in BLIND | RELATIVE:
        pytest.skip("does not look at the class, or has nothing to compare")
    image = toy.picture(SIDE)
    image[:, 22:30, 2:10] = torch.tensor([0.0, 1, 0])[:, None, None]
    found = explained(method, toy.load("colour"), image, 0)
    assert float(found[6:14, 14:22].mean()) > float(found.mean()) > float(found[22:30, 2:10].mean())


@some
def test_one_seed_gives_one_map_bit_for_bit(method: Any) -> None:
    """Whatever the process's own random state."""
    torch.manual_seed(1)
    one = explained(method, toy.load("colour"), batch=16)
    torch.manual_seed(2)
    assert torch.equal(one, explained(method, toy.load("colour"), batch=16))


@some
def test_the_batch_size_does_not_change_the_map(method: Any) -> None:
    """Batches are a matter of speed."""
    found = {batch: explained(method, toy.load("colour"), batch=batch) for batch in (5, 64)}
    assert [batch for batch, saliency in found.items() if not apart(saliency, expected(method)) < 1e-5] == []


@some
def test_the_number_of_threads_does_not_change_the_map(method: Any) -> None:
    """Sums in another order differ in the last digits only."""
    torch.set_num_threads(2)
    try:
        assert apart(expected(method), explained(method, toy.load("colour"), batch=32)) < 1e-5
    finally:
        torch.set_num_threads(1)


@some
def test_another_target_gives_another_map(method: Any) -> None:
    """A map that is the same for every class explains none."""
    if registry.find_name(method) in BLIND | RELATIVE:
        pytest.skip("does not look at the class, or has nothing to compare")
    red, green = (explained(method, toy.load("colour"), target=target) for target in (0, 1))
    assert maps.rank_agreement(red, green) < 0.5


@some
def test_a_contrast_and_a_function_are_targets_too(method: Any) -> None:
    """A pair is the difference of two scores, which a function can say as well."""
    pair = explained(method, toy.load("colour"), target=(0, 1))
    if registry.find_need(type(method)) is not OpenBox:
        assert apart(pair, explained(method, toy.load("colour"), target=lambda row: row[:, 0] - row[:, 1])) < 1e-5
    assert inside(pair) >= 0.5


def state(box: TorchBox) -> list[Any]:
    """Write down all of a module that a call could leave changed."""
    module = box.module
    return [
        [each.training for each in module.modules()],
        [(each.requires_grad, each.grad) for each in module.parameters()],
        [len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks) for each in module.modules()],
        [each.clone() for each in module.state_dict().values()],
        torch.get_rng_state(),
        torch.is_grad_enabled(),
    ]


def unchanged(before: list[Any], after: list[Any]) -> bool:
    """Compare two states, tensors by value."""
    weights = all(torch.equal(one, other) for one, other in zip(before[3], after[3], strict=True))
    return before[:3] == after[:3] and weights and torch.equal(before[4], after[4]) and before[5] == after[5]


@some
@pytest.mark.parametrize("training", [False, True])
def test_box_and_image_are_as_before(method: Any, training: bool) -> None:
    """Mode, gradients, hooks, weights, running means, random state, and the pixels, which a first layer may overwrite."""
    module = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(3), nn.Dropout(0.5), toy.Colour()).train(training)
    module[3].eval()
    box, image = TorchBox(module, Preparation((SIDE, SIDE)), "rgb"), toy.picture(SIDE)
    next(module.parameters()).requires_grad_(False)
    before, kept = state(box), image.clone()
    explained(method, box, image)
    assert unchanged(before, state(box))
    assert torch.equal(image, kept)


@every
def test_box_and_run_are_as_before_after_an_error_too(method: Any) -> None:
    """A box that fails in the middle leaves mode and hooks as they were."""
    if registry.find_name(method) in UNASKED:
        pytest.skip("does not ask the box")
    calls = []

    class Fails(toy.Colour):
        def forward(self, images: Tensor) -> Tensor:
            calls.append(len(images))
            if sum(calls) > (20 if registry.find_need(type(method)) is BlackBox else 0):
                raise ValueError("tired")
            return super().forward(images)

    box = TorchBox(Fails().train(), Preparation((SIDE, SIDE)), "rgb", backend="exact")
    before = state(box)
    with pytest.raises(BoxError, match="got ValueError: tired"):
        explained(method, box, batch=4)
    assert unchanged(before, state(box))


@some
def test_training_mode_gives_the_map_of_eval_mode(method: Any) -> None:
    """Dropout and batch norms act as they will when the box is used."""

    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), toy.Colour())

    found = [explained(method, wrap(net().train(mode), size=SIDE, backend="exact"), batch=16) for mode in (True, False)]
    assert torch.equal(*found)


@every
def test_the_repr_rebuilds_the_method(method: Any) -> None:
    """What is printed in a record can be run again."""
    assert eval(repr(method), {type(method).__name__: type(method)}) == method  # noqa: S307  # the repr of our own object


@every
def test_every_setting_has_a_help_text_a_default_and_a_type(method: Any) -> None:
    """The command line and the page show them; the first line of the class says what it does."""
    for setting in registry.list_settings(type(method)):
        assert len(setting.help) > 10, setting.name
        assert setting.default == getattr(type(method)(), setting.name)
    assert (type(method).__doc__ or "").partition("\n")[0].endswith(".")


@every
def test_it_is_known_by_its_name(method: Any) -> None:
    """The file, the class and the name on the command line are one word in three spellings."""
    name = registry.find_name(method)
    assert registry.find_method(name) is type(method)
    assert type(registry.make_method(name)) is type(method)


class Shared(nn.Module):
    """One convolution and one in-place activation used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        self.act = nn.ReLU(inplace=True)
        self.end = toy.Colour()
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(3)[:, :, None, None])
            self.mix.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Apply both twice."""
        return self.end(self.act(self.mix(self.act(self.mix(images)))))


class Tokens(nn.Module):
    """A classifier whose inner layer gives tokens behind a prefix, as a vision transformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.end = toy.Colour()

    def forward(self, images: Tensor) -> Tensor:
        """Cut into tokens, with one in front, and back."""
        tokens = torch.cat([images.new_zeros(len(images), 1, 3), images.flatten(2).mT], dim=1)
        return self.end(self.inner(tokens)[:, 1:].mT.unflatten(2, images.shape[-2:]))


class ChannelsLast(Tokens):
    """A classifier whose inner layer gives (n y x c), as a Swin transformer does."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn there and back."""
        return self.end(self.inner(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def as_numpy(batch: Any) -> Any:
    """Find colours with numpy: (n h w 3) in, probabilities out."""
    return toy.load("colour")(torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy()


def in_a_file() -> BlackBox:
    """Write the toy as a network file, without torch, and load it."""
    from tests.boxes.nets import colour

    with tempfile.TemporaryDirectory() as folder:
        return specs.open_box(f"onnx:{colour(Path(folder) / 'net.onnx')}", std=1.0, backend="exact")


BOXES: dict[str, Callable[[], BlackBox]] = {
    "toy": lambda: toy.load("colour"),
    "train mode": lambda: wrap(toy.Colour().train(), size=SIDE),
    "half": lambda: wrap(toy.Colour().to(torch.bfloat16), size=SIDE),
    "double": lambda: wrap(toy.Colour().double(), size=SIDE),
    "shared and in place": lambda: wrap(Shared(), size=SIDE),
    "tokens": lambda: wrap(Tokens(), size=SIDE),
    "channels last": lambda: wrap(ChannelsLast(), size=SIDE),
    "function": lambda: specs.open_box(as_numpy, size=SIDE, takes="numpy"),
    "chosen backend": lambda: wrap(toy.Colour(), size=SIDE, backend="auto"),
    "bfloat16 backend": lambda: wrap(toy.Colour(), size=SIDE, backend="torch bfloat16"),
    "onnx file": in_a_file,
    "openvino backend": lambda: wrap(toy.Colour(), size=SIDE, backend="openvino"),
}


@cache
def make_box(kind: str) -> BlackBox:
    """Make a box once; what is called with it leaves it as it was."""
    return BOXES[kind]()


@some
@pytest.mark.parametrize("kind", BOXES)
def test_it_finds_the_patch_on_every_box_that_it_admits(method: Any, kind: str) -> None:
    """The annotation of `box` is the need, and whatever meets it must do."""
    box = make_box(kind)
    if not isinstance(box, registry.find_need(type(method))):
        pytest.skip("needs more than a black box")
    assert inside(explained(method, box)) >= 0.5


@some
def test_the_rest_of_a_batch_changes_nothing(method: Any) -> None:
    """A picture explained alone or among others has one map."""
    pictures = [toy.picture(SIDE, colour) for colour in (0, 1, 2)]
    budget = BUDGET.get(registry.find_name(method))
    together = salience.explain(toy.load("colour"), torch.stack(pictures), method, batch=16, budget=budget)
    for one, picture in zip(together, pictures, strict=True):
        alone = salience.explain(toy.load("colour"), picture, method, batch=16, budget=budget).saliency
        assert apart(one.saliency, alone) <= (1e-5 * float(alone.abs().max()) if isinstance(method, BatchedMethod) else 0)


def count_alive(box: TorchBox) -> dict[str, int]:
    """Count what a call could leave behind in the process and in the box."""
    gc.collect()
    return {
        "tensors": sum(issubclass(type(each), Tensor) for each in gc.get_objects()),
        "hooks": sum(len(getattr(module, kind)) for module in box.module.modules() for kind in HOOKS),
        "threads": threading.active_count(),
        "files": psutil.Process().num_fds(),
    }


@some
def test_nothing_stays_alive_after_a_call(method: Any) -> None:
    """Hooks and graphs that stayed alive once took 441 GB of another library's user."""
    box, image = toy.load("colour", size=16), toy.picture(16)

    def run(times: int) -> dict[str, int]:
        for _ in range(times):
            explained(method, box, image, budget=160 if getattr(method, "variant", "") != "official" else None, batch=64)
        return count_alive(box)

    assert run(2) == run(3)


@pytest.mark.slow
@every
def test_memory_does_not_grow_over_many_calls(method: Any) -> None:
    """The process stays as large as it was, whatever it is that a call could leave behind."""
    box, image, process = toy.load("colour", size=16), toy.picture(16), psutil.Process()

    def run(times: int) -> int:
        for _ in range(times):
            explained(method, box, image, budget=160 if getattr(method, "variant", "") != "official" else None, batch=64)
        gc.collect()
        return process.memory_info().rss

    before, after = run(30), run(150)
    if after - before >= 20 * 2**20:  # a pool may grow once; a leak goes on
        before, after = after, run(150)
    assert after - before < 20 * 2**20


@every
@pytest.mark.parametrize("target", [3, -1, "purple"])
def test_a_target_that_the_box_does_not_have_is_an_error_in_words(method: Any, target: Any) -> None:
    """Another library prints a line and leaves the result unset."""
    with pytest.raises(salience.SalienceError, match=r"expected (a class from 0 to 2|the name of a class), got"):
        salience.explain(toy.load("colour"), toy.picture(SIDE), method, target=target)
    if isinstance(target, int):
        with pytest.raises(TargetError, match="expected a class from 0 to 2"):
            explained(method, toy.load("colour"), target=target)


@every
def test_nan_from_the_box_is_an_error_in_words(method: Any) -> None:
    """It must not become a map, nor a zero."""
    if registry.find_name(method) in UNASKED:
        pytest.skip("does not ask the box")
    box = wrap(nn.Sequential(toy.Colour()), size=SIDE)
    with torch.no_grad():
        box.module[0].detect.weight.fill_(float("nan"))
    with pytest.raises(BoxError, match="expected finite scores from Sequential, got NaN or infinity"):
        explained(method, box)
