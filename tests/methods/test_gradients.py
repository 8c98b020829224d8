"""Gradient, input × gradient and SmoothGrad against their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes import toy
from salience.boxes.torch import TorchBox
from salience.engine import seeding
from salience.engine.inside import input_gradients
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.gradient import Gradient
from salience.methods.input_x_gradient import InputXGradient
from salience.methods.smooth_grad import SmoothGrad
from salience.picture import Preparation
from tests.helpers import noise, same

SIZE, MEAN, STD = (6, 9), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
IMAGE = noise(3, *SIZE)
METHODS = [Gradient(), InputXGradient(), SmoothGrad(copies=3)]


def bent(dtype: torch.dtype = torch.float64) -> TorchBox:
    """Make a box whose logits are curved in the pixels, with a normalisation of its own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 4 * 7, 3)).to(dtype)
    return TorchBox(net, Preparation(SIZE, mean=MEAN, std=STD), "abc", backend="exact")


def normalised(image: Tensor) -> Tensor:
    """Do what the box does first, channel by channel."""
    return torch.stack([(image[c] - MEAN[c]) / STD[c] for c in range(3)])


def gradient(image: Tensor, target: int) -> Tensor:
    """Differentiate one logit with respect to the pixels in 0…1, by the chain rule over the normalisation."""
    seen = normalised(image).requires_grad_()
    bent().module(seen[None])[0, target].backward()
    return torch.stack([seen.grad[c] / STD[c] for c in range(3)])


def per_pixel(values: Tensor, fold: Any) -> Tensor:
    """Make one value of the three channels of each pixel, pixel by pixel."""
    rows, columns = range(values.shape[1]), range(values.shape[2])
    lines = [[fold([float(values[c, y, x]) for c in range(3)]) for x in columns] for y in rows]
    return torch.tensor(lines, dtype=torch.float64)


FOLDS = {
    "max-abs": lambda three: max(abs(each) for each in three),
    "sum-abs": lambda three: sum(abs(each) for each in three),
    "sum": sum,
}


@pytest.mark.parametrize("channels", FOLDS)
def test_the_gradient_equals_its_definition(channels: Any) -> None:
    """The gradient at each pixel, its channels folded in plain loops."""
    found = Gradient(channels)(bent(), IMAGE, 1)
    assert same(found, per_pixel(gradient(IMAGE, 1), FOLDS[channels]))


def test_the_gradient_is_what_a_small_step_changes() -> None:
    """A difference quotient at one pixel of one channel, through the box as a user calls it."""
    step = torch.zeros_like(IMAGE)
    step[2, 4, 7] = 1e-5
    box = bent()
    up, down = (box.logits((IMAGE + sign * step)[None])[0, 1].detach() for sign in (1, -1))
    only = Gradient("sum")(box, IMAGE, 1)[4, 7] - gradient(IMAGE, 1)[:2, 4, 7].sum()
    assert float(abs((up - down) / 2e-5 - only)) < 1e-8


@pytest.mark.parametrize("channels", FOLDS)
def test_input_x_gradient_is_input_times_slope_as_the_network_sees_them(channels: Any) -> None:
    """Normalised input times the gradient at it: the normalisation's scale goes out."""
    seen = normalised(IMAGE)
    gradients = torch.stack([gradient(IMAGE, 1)[c] * STD[c] for c in range(3)])
    assert same(
        InputXGradient(channels)(bent(), IMAGE, 1), input_gradients.fold_channels((seen * gradients)[None], channels)[0]
    )


def test_a_box_without_normalisation_is_compared_with_black() -> None:
    """Its hidden pixels show grey, but what the network sees as 0 is black."""
    box = TorchBox(bent().module, Preparation(SIZE), "abc", backend="exact")
    assert box.mean == (0.5, 0.5, 0.5)
    by_hand = IMAGE.clone().requires_grad_()
    box.module(by_hand[None])[0, 1].backward()
    assert same(InputXGradient()(box, IMAGE, 1), (IMAGE * by_hand.grad).sum(0))


@pytest.mark.parametrize("square", [False, True])
def test_smooth_grad_equals_its_definition_in_plain_loops(square: bool) -> None:
    """The mean over noisy copies, each with the noise of its own address."""
    total = torch.zeros_like(IMAGE)
    for copy in range(7):
        drawn = torch.randn(IMAGE.shape, generator=seeding.generator(3, "smooth-grad", copy)).double()
        each = gradient(IMAGE + 0.2 * (IMAGE.max() - IMAGE.min()) * drawn, 1)
        total += each**2 if square else each
    found = SmoothGrad(copies=7, noise=0.2, square=square, seed=3)(bent(), IMAGE, 1)
    assert same(found, (total / 7).abs().amax(0))


@pytest.mark.parametrize("channels", FOLDS)
def test_smooth_grad_with_one_copy_and_no_noise_is_the_gradient(channels: Any) -> None:
    """Bit for bit."""
    one = SmoothGrad(copies=1, noise=0, channels=channels)
    assert torch.equal(one(bent(), IMAGE, 1), Gradient(channels)(bent(), IMAGE, 1))


def test_on_a_linear_box_smooth_grad_is_the_gradient_and_input_x_gradient_each_pixels_term() -> None:
    """A gradient that is the same everywhere is its own mean, whatever the noise; weight times pixel is the term."""
    weights = noise(*SIZE, seed=7) - 0.5
    box = toy.linear(weights)
    assert same(SmoothGrad(copies=5, noise=3)(box, IMAGE, 1), Gradient()(box, IMAGE, 1))
    assert same(InputXGradient()(box, IMAGE, 1), weights * IMAGE.mean(0))


def test_more_copies_begin_with_the_same_noise_and_other_seeds_do_not() -> None:
    """A copy's noise depends on seed and number alone."""

    def total(copies: int, seed: int = 0) -> Tensor:
        return copies * SmoothGrad(copies, channels="sum", seed=seed)(bent(), IMAGE, 1)

    assert not same(total(1, seed=1), total(1))
    third = seeding.generator(0, "smooth-grad", 2)
    drawn = torch.randn(IMAGE.shape, generator=third).double() * 0.15 * (IMAGE.max() - IMAGE.min())
    assert same(total(3) - total(2), gradient(IMAGE + drawn, 1).sum(0))


def test_no_more_copies_exist_at_a_time_than_a_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lots that cut through the copies of an image leave the maps as they are."""
    images = torch.stack([IMAGE, IMAGE.flip(1), IMAGE.flip(2)])
    whole = SmoothGrad(copies=7).many(bent(), images, [0, 1, 2])
    monkeypatch.setattr(input_gradients, "LOT", 4)
    parts = SmoothGrad(copies=7).many(bent(), images, [0, 1, 2])
    assert all(same(one.saliency, other.saliency) for one, other in zip(whole, parts, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, 2, None])
def test_many_images_and_many_targets_give_the_maps_of_each_alone(method: Any, batch: int | None) -> None:
    """One target an image, or several of one image."""
    images = torch.stack([IMAGE, IMAGE.flip(1), IMAGE.flip(2)])
    aims = [0, 2, (1, 0)]
    with start_run(batch=batch):
        each = method.many(bent(), images, aims)
        several = method.many(bent(), images[:1], aims)
    for number, aim in enumerate(aims):
        assert same(each[number].saliency, method(bent(), images[number], aim))
        assert same(several[number].saliency, method(bent(), images[0], aim))


@pytest.mark.parametrize("method", METHODS)
def test_passes_are_counted_and_too_small_a_budget_is_refused(method: Any) -> None:
    """Before the first pass."""
    count = getattr(method, "copies", 1)
    images = torch.stack([IMAGE, IMAGE])
    with start_run(2 * count) as run:
        method.many(bent(), images, [0, 1])
    assert run.passes == 2 * count
    with start_run(2 * count - 1) as run, pytest.raises(BudgetError, match=f"expected a budget of at least {2 * count}"):
        method.many(bent(), images, [0, 1])
    assert run.passes == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_target_that_the_image_does_not_move_leaves_a_note(method: Any) -> None:
    """A blank map says why it is blank."""
    found = method.many(toy.load("constant", size=6), IMAGE[None, :, :, :6].float(), [1])[0]
    assert found.notes == ("the image gets no gradient from the target, so the map is blank",)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_in_half_precision_gives_a_map_near_that_of_a_double_one(method: Any) -> None:
    """The map itself is float32."""
    found = method(bent(torch.bfloat16), IMAGE.float(), 1)
    assert found.dtype == torch.float32
    known = method(bent(), IMAGE, 1)
    assert same(found, known, 0.05 * float(known.abs().max()))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Gradient("mean"), "expected channels, one of max-abs, sum-abs, sum, got 'mean'"),
        (lambda: InputXGradient("mean"), "expected channels, one of"),
        (lambda: SmoothGrad(channels="mean"), "expected channels, one of"),
        (lambda: SmoothGrad(copies=0), "expected 1 ≤ copies, got 0"),
        (lambda: SmoothGrad(noise=-1), "expected 0 ≤ noise, got -1"),
        (lambda: SmoothGrad().many(bent(), IMAGE.expand(3, -1, -1, -1), [0, 1]), "one target an image, .* got 2 for 3"),
        (lambda: Gradient().many(bent(), IMAGE.expand(3, -1, -1, -1), [0, 1]), "one target an image, .* got 2 for 3"),
    ],
)
def test_settings_and_targets_out_of_range_are_refused(make: Any, text: str) -> None:
    """In one sentence."""
    with pytest.raises(SettingError, match=text):
        make()
