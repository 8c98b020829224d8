"""Average drop and increase, each protocol against its definition in plain loops."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.case import Case, MeasureResult
from salience.engine.query.run import start_run
from salience.errors import SettingError
from salience.measures._masked_score import Protocol
from salience.types import Image, Map
from tests.helpers import Asked, brightness, curved, noise

IMAGE = noise(3, 8, 8)
SALIENCY = noise(8, 8, seed=3) * 7 - 2
TIED = (noise(8, 8, seed=3) * 6).floor()
SIDE, PIXELS, TARGET = 8, 64, 1


def slow_mask(protocol: str, saliency: Map) -> list[float]:
    """Say for each pixel how much of it stays."""
    values = saliency.flatten().tolist()
    low, high = min(values), max(values)
    soft = [(each - low) / (high - low) for each in values]
    if protocol == "sise-15":
        order = sorted(range(PIXELS), key=lambda at: (-values[at], at))[:10]  # 15 % of 64 is 9.6
        return [float(at in order) for at in range(PIXELS)]
    ascending = sorted(soft)
    cut = {
        "ptame-50": ascending[math.floor(PIXELS * 0.5) - 1],
        "ptame-15": ascending[math.floor(PIXELS * 0.85) - 1],
        "relevance-cam": ascending[-int(PIXELS * 0.5)],
    }.get(protocol, -1.0)
    return [each if each > cut else 0.0 for each in soft]


def slow_scores(protocol: str, saliency: Map, image: Image) -> tuple[float, float]:
    """Mix pixel after pixel; the box's mean colour is 0.5."""
    behind = 0.0 if "ptame" in protocol or protocol == "relevance-cam" else 0.5
    shown = image.clone()
    for at, mask in enumerate(slow_mask(protocol, saliency)):
        for channel in range(3):
            pixel = float(image[channel, at // SIDE, at % SIDE])
            shown[channel, at // SIDE, at % SIDE] = mask * pixel + (1 - mask) * behind
    box = curved()
    before, after = (
        (box.logits(each[None]).detach() if protocol == "grad-cam-logit" else box(each[None]))[0, TARGET]
        for each in (image, shown)
    )
    return float(before), float(after)


def slow_drop(protocol: str, before: float, after: float) -> float:
    """Compare two scores."""
    if protocol == "relevance-cam" and after >= before:
        return math.nan
    lost = before - after if before > after else 0.0
    if protocol.startswith("grad-cam"):
        return lost
    return lost / (before + 1e-7 if protocol == "torchcam" else before)


def measured(spec: str, saliency: Map = SALIENCY, image: Image = IMAGE) -> MeasureResult:
    """Measure."""
    found: MeasureResult = specs.make_measure(spec)(Case(curved(), image, TARGET, saliency))
    return found


every = pytest.mark.parametrize("protocol", get_args(Protocol))


@every
@pytest.mark.parametrize("image", [IMAGE, IMAGE.flip(1)], ids=["one", "other"])
@pytest.mark.parametrize("saliency", [SALIENCY, TIED, -SALIENCY], ids=["distinct", "tied", "turned"])
def test_both_equal_their_definition_in_plain_loops(protocol: str, saliency: Map, image: Image) -> None:
    """What stays, what the rest shows, which score is read, and what the loss is divided by."""
    before, after = slow_scores(protocol, saliency, image)
    drop, increase = (measured(f"{name}/{protocol}", saliency, image) for name in ("average-drop", "increase"))
    assert drop.evidence["before"] == pytest.approx(before, abs=1e-12)
    assert drop.evidence["after"] == pytest.approx(after, abs=1e-12)
    assert drop.value == pytest.approx(slow_drop(protocol, before, after), abs=1e-12, nan_ok=True)
    assert increase.value == float(after > before)


def test_the_cases_above_drop_and_rise() -> None:
    """So that neither branch of a definition is left out."""
    values = {
        measured("increase", saliency, image).value
        for saliency in (SALIENCY, TIED, -SALIENCY)
        for image in (IMAGE, IMAGE.flip(1))
    }
    assert values == {0, 1}


@every
def test_a_flat_map_gives_no_mask(protocol: str) -> None:
    """NaN where the map is scaled; exactly so many pixels can always be kept."""
    values = [measured(f"{name}/{protocol}", torch.ones(8, 8)).value for name in ("average-drop", "increase")]
    assert all(math.isnan(each) is (protocol != "sise-15") for each in values)


def test_a_score_that_does_not_drop_is_left_out_by_one_protocol_only() -> None:
    """A mask of ones keeps the whole image: nothing is lost, and what is divided differs."""
    saliency = torch.ones(8, 8)
    saliency[0, 0] = 0
    box = toy.linear(1 - saliency)  # looks at the pixel that no mask keeps, on black: no score before or after
    image = IMAGE.float()
    image[:, 0, 0] = 0.5
    drops = {each: specs.make_measure(f"average-drop/{each}") for each in ("score-cam", "relevance-cam", "torchcam")}
    black = image * saliency
    assert math.isnan(drops["score-cam"](Case(box, black, 1, saliency)).value)  # nothing to divide by
    assert drops["torchcam"](Case(box, black, 1, saliency)).value == 0
    constant = Case(toy.load("constant", size=8), image, 0, saliency)  # always 1
    assert drops["score-cam"](constant).value == 0
    assert math.isnan(drops["relevance-cam"](constant).value)
    assert specs.make_measure("increase/relevance-cam")(constant).value == 1
    assert specs.make_measure("increase")(constant).value == 0


def test_keeping_the_patch_keeps_the_score_and_keeping_the_rest_loses_it() -> None:
    """Six per cent of the pixels are red; a map of them needs no other."""
    box, image, patch = toy.load("colour"), toy.picture(32), torch.zeros(32, 32)
    patch[6:14, 14:22] = 1
    good, poor = (specs.make_measure("average-drop/sise-15")(Case(box, image, 0, each)).value for each in (patch, -patch))
    assert good < 1e-6
    assert poor == pytest.approx(1 - (1 / 3) / float(box(image[None])[0, 0]), abs=0.01)


def test_it_takes_two_passes() -> None:
    """The image whole, and through the mask."""
    with start_run() as run:
        measured("average-drop")
    assert run.passes == 2


def test_logits_are_asked_of_an_open_box_only() -> None:
    """A black box has none."""
    measure = specs.make_measure("average-drop/grad-cam-logit")
    assert measure.needs == ("gradients",)
    with pytest.raises(SettingError, match="expected a box with logits for grad-cam-logit, got asked: take another"):
        measure(Case(Asked(brightness), IMAGE, 1, SALIENCY))
