"""Detectors and segmenters: every form of answers gives the same detections; a place is a box like any other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import salience
from salience.boxes._questions.detections import Detections
from salience.errors import SettingError, TargetError, UnknownName
from salience.picture import read
from salience.tasks.prepare import fit_picture, list_places
from salience.types import BlackBox, QuestionBox
from tests.helpers import same

SIDE, CELLS = 64, 8
NAMES = ["red", "green", "blue"]


class Squares(nn.Module):
    """A detector of coloured squares, set by hand: each of 8 × 8 cells proposes the 16 × 16 pixels around it."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.form = form
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Any:
        near = functional.avg_pool2d(functional.pad(images, (4, 4, 4, 4)), 16, 8) * self.weight
        colour = near - (near.sum(1, keepdim=True) - near)  # how much more than the other two
        scores = (2.4 * colour - 1.4).clamp(0, 0.95).flatten(2).transpose(1, 2)
        centre = (torch.arange(CELLS, dtype=torch.float32) + 0.5) * 8
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        corners = torch.stack([x - 8, y - 8, x + 8, y + 8], -1).reshape(1, -1, 4).expand(len(images), -1, -1)
        return self.form(corners, scores)


def to_centres(corners: Tensor) -> Tensor:
    return torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)


def write_yolo5(corners: Tensor, scores: Tensor) -> Tensor:
    best = scores.amax(-1, keepdim=True)
    return torch.cat([to_centres(corners), best, scores / best.clamp(min=1e-6)], -1)


def write_yolo8(corners: Tensor, scores: Tensor) -> Tensor:
    return torch.cat([to_centres(corners), scores], -1).transpose(1, 2)


def write_suppressed(corners: Tensor, scores: Tensor) -> Tensor:
    best = scores.max(-1, keepdim=True)
    return torch.cat([corners, best.values, best.indices.float()], -1)


def write_ssd(corners: Tensor, scores: Tensor) -> dict[str, Tensor]:
    best = scores.max(-1)
    boxes = corners[..., [1, 0, 3, 2]] / SIDE
    return {
        "detection_boxes": boxes,
        "detection_classes": best.indices.float(),
        "detection_scores": best.values,
        "num_detections": torch.full((len(scores),), float(scores.shape[1])),
    }


def write_torchvision(corners: Tensor, scores: Tensor) -> list[dict[str, Tensor]]:
    best = scores.max(-1)
    rows = zip(corners, best.indices, best.values, strict=True)
    return [{"boxes": boxes, "labels": labels, "scores": sure} for boxes, labels, sure in rows]


def write_queries(corners: Tensor, scores: Tensor) -> dict[str, Tensor]:
    rest = (1 - scores.sum(-1, keepdim=True)).clamp(min=1e-6)
    return {"logits": torch.cat([scores.clamp(min=1e-6), rest], -1).log(), "pred_boxes": to_centres(corners) / SIDE}


def write_table(corners: Tensor, scores: Tensor) -> Tensor:
    best = scores.max(-1)
    images = torch.zeros(*best.values.shape, 1)
    return torch.cat([images, best.indices[..., None], best.values[..., None], corners / SIDE], -1)[:, None]


def write_rows(corners: Tensor, scores: Tensor) -> Tensor:
    best = scores.max(-1)
    images = torch.arange(len(scores))[:, None, None].expand(-1, scores.shape[1], 1)
    return torch.cat([images, corners, best.indices[..., None], best.values[..., None]], -1).flatten(0, 1)


FORMS = (
    write_yolo5,
    write_yolo8,
    write_suppressed,
    write_ssd,
    write_torchvision,
    write_queries,
    write_table,
    write_rows,
)


def make_detector(form: Callable[[Tensor, Tensor], Any] = write_yolo8) -> BlackBox:
    return salience.load(Squares(form), size=SIDE, classes=NAMES)


@pytest.fixture
def picture() -> Tensor:
    """Two red squares and a green one, on black."""
    image = torch.zeros(3, SIDE, SIDE)
    image[0, 4:20, 4:20], image[0, 36:52, 36:52], image[1, 4:20, 44:60] = 1.0, 0.9, 0.8
    return image


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_answers_is_recognised_and_gives_the_same_detections(
    form: Callable[..., Any], picture: Tensor
) -> None:
    """The same detector in eight layouts: proposals of a class near each other are one detection, the surest first."""
    box = make_detector(form)
    assert isinstance(box, QuestionBox)
    assert list_places(box, read(picture)) == ["red 1", "red 2", "green 1"]
    why = salience.explain(box, picture, "occlusion", target="red 2", window=8, stride=8)
    assert why.target.probability == pytest.approx(2.4 * 0.9 - 1.4, abs=0.02)
    places = why.box["question"]["places"]
    assert same(torch.tensor(places["red 2"]) * SIDE, torch.tensor([36.0, 36.0, 52.0, 52.0]), 1e-3)
    assert same(torch.tensor(places["green 1"]) * SIDE, torch.tensor([44.0, 4.0, 60.0, 20.0]), 1e-3)  # x first


@pytest.mark.parametrize("form", [write_yolo5, write_torchvision, write_table])
def test_two_things_of_a_class_have_two_maps(form: Callable[..., Any], picture: Tensor) -> None:
    """Each inside its own rectangle: a classifier would light both."""
    first, second = salience.explain(
        make_detector(form), picture, "occlusion", target=["red 1", "red 2"], window=8, stride=4
    )
    inside = torch.zeros(SIDE, SIDE)
    inside[4:20, 4:20] = 1
    own, other = ((why.saliency.clamp(min=0) * inside).sum() / why.saliency.clamp(min=0).sum() for why in (first, second))
    assert own > 0.7
    assert other < 0.1


def test_d_rise_is_what_the_paper_says(picture: Tensor) -> None:
    """Equations 3 to 6 in plain loops, on all proposals of a masked picture."""
    box = make_detector(write_yolo5)
    image, geometry = fit_picture(box, read(picture))
    asked, target = box.ask(image, geometry, "red 2")  # type: ignore[attr-defined]  # a detector
    raw, clean = (Squares(write_yolo5)(each[None])[0].detach() for each in (image * torch.linspace(0, 1, SIDE), image))
    chosen = max(
        (row for row in clean if row[5:].argmax() == 0 and row[0] > 32), key=lambda row: float(row[4] * row[5:].max())
    )
    best = 0.0
    for row in raw:
        one, other = (
            (each[0] - each[2] / 2, each[1] - each[3] / 2, each[0] + each[2] / 2, each[1] + each[3] / 2)
            for each in (row, chosen)
        )
        width = max(0.0, float(min(one[2], other[2]) - max(one[0], other[0])))
        height = max(0.0, float(min(one[3], other[3]) - max(one[1], other[1])))
        iou = width * height / float(row[2] * row[3] + chosen[2] * chosen[3] - width * height)
        cosine = float(row[5:] @ chosen[5:] / (row[5:].norm() * chosen[5:].norm()).clamp(min=1e-12))
        best = max(best, iou * cosine * float(row[4]))
    assert float(asked((image * torch.linspace(0, 1, SIDE))[None])[0, target]) == pytest.approx(best, rel=1e-4)


def test_a_detection_that_is_missing_can_be_asked_about(picture: Tensor) -> None:
    """Why not? The map of a rectangle of one's own says what speaks against it; blue is nowhere, and occluding adds none."""
    box = make_detector()
    with pytest.raises(TargetError, match='expected one of red 1, red 2, green 1, got .blue., .*"blue at 10,20,110,220"'):
        salience.explain(box, picture, "occlusion", target="blue")
    why = salience.explain(box, picture, "occlusion", target="green at 4,4,20,20", window=8, stride=8)
    assert why.target.name == "green at 4,4,20,20"
    assert why.target.probability < 0.05
    with pytest.raises(UnknownName, match="expected the name of a class, got 'purple'"):
        salience.explain(box, picture, "occlusion", target="purple at 4,4,20,20")
    with pytest.raises(TargetError, match="expected a place as x0,y0,x1,y1 in pixels of the picture, 64 wide and 64 high"):
        salience.explain(box, picture, "occlusion", target="red at 20,20,4,4")


def test_all_detections_share_every_pass(picture: Tensor) -> None:
    """Three maps for the passes of one."""
    box, calls = make_detector(), 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    box.model.module.register_forward_hook(count)  # type: ignore[attr-defined]  # a detector of torch
    salience.explain(box, picture, "rise", target="red 1", masks=64, batch=16)
    alone, calls = calls, 0
    maps = salience.explain(box, picture, "rise", target="all", masks=64, batch=16)
    assert [why.target.name for why in maps] == ["red 1", "red 2", "green 1"]
    assert calls <= alone + 3


METHODS = {
    "rise": {"masks": 800},
    "occlusion": {"window": 16, "stride": 8},
    "lime": {"masks": 100},
    "d-rise": {"masks": 2000, "cells": 16},
}


def make_segmenter() -> BlackBox:
    """Colours of pixels, as logits of four classes, the first of them black."""
    net = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        net.weight.copy_(torch.cat([torch.zeros(1, 3), 8 * torch.eye(3)])[..., None, None])
        net.bias.copy_(torch.tensor([3.0, 0.0, 0.0, 0.0]))
    return salience.load(net, size=SIDE, classes=["background", *NAMES])


@pytest.mark.parametrize("question", ["detection", "segmentation"])
@pytest.mark.parametrize("name", METHODS)
def test_a_question_is_a_box_like_any_other(name: str, question: str, picture: Tensor) -> None:
    """Methods find the place that is asked about, and deletion and insertion tell the map from its opposite."""
    box = make_detector() if question == "detection" else make_segmenter()
    target = "red 1" if question == "detection" else "green"
    y, x = (slice(4, 20), slice(4, 20)) if question == "detection" else (slice(4, 20), slice(44, 60))
    method = "rise" if name == "d-rise" else name
    why = salience.explain(box, picture, method, target=target, batch=32, **METHODS[name])
    assert why.saliency[y, x].mean() > why.saliency.mean() + why.saliency.std() / 2
    again = salience.explain(box, picture, method, target=target, batch=32, **METHODS[name])
    assert torch.equal(why.saliency, again.saliency)
    deletion, insertion = salience.measure(box, why, ["deletion", "insertion"])
    assert insertion.value > deletion.value


def test_a_segmenter_is_asked_about_the_region_of_a_class(picture: Tensor) -> None:
    """The score is the class's mean probability in its region; the background is asked about last."""
    box = make_segmenter()
    assert list_places(box, read(picture)) == ["red", "green", "background"]
    why = salience.explain(box, picture, "occlusion", target="green", window=8, stride=8)
    expected = torch.softmax(torch.tensor([3.0, 0.0, 8 * 0.8, 0.0]), 0)[2]
    assert why.target.probability == pytest.approx(float(expected), abs=1e-4)
    assert same(box(picture[None]).sum(), torch.tensor(1.0), 1e-5)


def test_a_record_of_a_place_is_measured_as_it_was_asked(picture: Tensor, tmp_path: Path) -> None:
    """The places are found again; one of one's own is in the target's name."""
    box = make_detector()
    for target in ("red 2", "red at 36,36,52,52"):
        why = salience.explain(box, picture, "occlusion", target=target, window=8, stride=8)
        loaded = salience.Explanation.load(why.save(tmp_path / "why.salience"))
        both = [salience.measure(make_detector(), each, ["deletion"])[0].value for each in (why, loaded)]
        assert both[0] == both[1]


def test_what_was_asked_before_changes_nothing(picture: Tensor) -> None:
    """A place of one's own is no place of the next question, nor of a measure of the last one."""
    box = make_detector()
    first = salience.explain(box, picture, "occlusion", target="red 2", window=8, stride=8)
    salience.explain(box, picture, "occlusion", target="red at 1,1,9,9", window=8, stride=8)
    again = salience.explain(box, picture, "occlusion", target="red 2", window=8, stride=8)
    assert first.box["fingerprint"] == again.box["fingerprint"]
    assert salience.measure(box, first, ["deletion"]) is not None


def test_a_place_without_a_class_is_of_what_is_most_detected_there(picture: Tensor) -> None:
    """The red square at its own place is the red square: the same score, by IoU 1 and its own class."""
    box = make_detector()
    own, named = (
        salience.explain(box, picture, "occlusion", target=target, window=8, stride=8)
        for target in ("at 36,36,52,52", "red 2")
    )
    assert own.target.probability == pytest.approx(named.target.probability, abs=1e-5)


def test_threads_that_share_a_detector_ask_about_their_own_pictures(picture: Tensor) -> None:
    """Eight threads, two pictures: each gets the places of its own."""
    box, other = make_detector(), picture.flip(0)  # blue for red
    boxes = [box.ask(*fit_picture(box, read(each)), None)[0] for each in (picture, other)]  # type: ignore[attr-defined]
    expected = [each.classes for each in boxes]

    def ask(number: int) -> bool:
        image, geometry = fit_picture(box, read((picture, other)[number % 2]))
        return box.ask(image, geometry, None)[0].classes == expected[number % 2]  # type: ignore[attr-defined]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_the_rectangle_that_is_asked_about_is_drawn(picture: Tensor) -> None:
    """White between black, around the detection."""
    from salience.draw import overlay

    why = salience.explain(make_detector(), picture, "occlusion", target="red 2", window=8, stride=8)
    pixels = np.asarray(overlay.image(why))
    assert (pixels[36, 38:50] == 255).all()
    assert (pixels[35, 38:50] == 0).all()


def test_options_of_a_detector_are_refused_elsewhere_and_read_here() -> None:
    """`least` says how sure a detection is."""
    with pytest.raises(SettingError, match="expected a detector for least, got toy:colour, which scores classes"):
        salience.load("toy:colour", least=0.2)
    with pytest.raises(SettingError, match="expected least as a share between 0 and 1, got '7'"):
        salience.load(Squares(write_yolo8), size=SIDE, classes=NAMES, least="7")
    with pytest.raises(UnknownName, match="expected the name of a form of corners, got 'xywh': did you mean"):
        salience.load(Squares(write_ssd), size=SIDE, classes=NAMES, corners="xywh")


def test_what_is_alike_in_part_scores_in_part() -> None:
    """Half the rectangle is half of the score; nothing proposed is nothing."""
    half = Detections(torch.tensor([[[0.0, 0.0, 0.5, 0.5]]]), torch.tensor([[[0.0, 0.8]]]), torch.tensor([[0.8]]))
    asked = torch.tensor([[0.0, 0.0, 0.5, 1.0]]), torch.tensor([[0.0, 1.0]])
    assert same(half.compare(*asked), torch.tensor([[0.4]]))
    none = Detections(torch.empty(2, 0, 4), torch.empty(2, 0, 2), torch.empty(2, 0))
    assert same(none.compare(*asked), torch.zeros(2, 1))
