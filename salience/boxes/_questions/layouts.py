"""The forms in which detectors answer, told apart by what they answer for a picture.

Each function looks at raw outputs and gives a `Layout`, or None. `read` makes `Detections` of raw outputs in that form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._questions.detections import Detections
from salience.runtime.outputs import Output, list_outputs

Form = Literal["xyxy", "yxyx", "cxcywh"]
PROPOSALS = 20  # of a raw head, at least
EACH = ("boxes", "labels", "scores")  # of torchvision's detectors
UNIT = 2.0  # coordinates up to this are shares of the image, else pixels
SCORE = re.compile("score|conf|prob", re.IGNORECASE)
LABELS = 91  # classes where nobody gave names: COCO's ids, the usual case


@dataclass(frozen=True)
class Frame:
    """What coordinates count in.

    >>> Frame((10, 20), unit=False).to_unit(torch.tensor([0.0, 0.0, 20.0, 5.0]))
    tensor([0.0000, 0.0000, 1.0000, 0.5000])
    """

    size: tuple[int, int]  # height and width of the image
    unit: bool | None = None  # shares of the image, or pixels; None: as the numbers are

    def to_unit(self, corners: Tensor) -> Tensor:
        """Bring coordinates to shares of the image."""
        if self.unit or (self.unit is None and _are_unit(corners)):
            return corners
        return corners / corners.new_tensor([self.size[1], self.size[0], self.size[1], self.size[0]])


@dataclass(frozen=True)
class Layout:
    """A form of answers.

    >>> Layout("boxes, labels and scores", lambda raw: None, rows=True, classes=None).rows
    True
    """

    name: str
    read: Callable[[Any], Detections]
    rows: bool  # whether answers to several images at once keep them apart
    classes: int | None  # None: labels are numbers, and nobody says how many there are


def find_layout(raw: Any, size: tuple[int, int], form: Form | None = None, classes: int | None = None) -> Layout | None:
    """Find the form of a detector's answer to one image of a size; None where it is no detector's.

    `form` says how rectangles are written, where the answer does not tell: `xyxy`, `yxyx` or `cxcywh`.

    >>> raw = {"boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}
    >>> find_layout([raw], (16, 16)).name
    'boxes, labels and scores of each image'
    """
    if (
        isinstance(raw, (list, tuple))
        and raw
        and isinstance(raw[0], Mapping)
        and {"boxes", "labels", "scores"} <= set(raw[0])
    ):
        read = partial(_read_each, size=size, classes=classes or LABELS)
        return Layout("boxes, labels and scores of each image", read, rows=True, classes=classes)
    outputs = list_outputs(raw)
    named = {each.name.rpartition(".")[2]: each.value for each in outputs}
    if {"logits", "pred_boxes"} <= named.keys() and named["logits"].ndim == 3:
        return _of_queries(named["logits"], classes)
    if len(outputs) == 1:
        return _of_one(outputs[0].value, size, form, classes)
    return _of_lists(outputs, size, form, classes)


def _read_each(raw: Sequence[Mapping[str, Tensor]], *, size: tuple[int, int], classes: int) -> Detections:
    """Read torchvision's answers: a dictionary an image."""
    most = max(1, *(len(each["scores"]) for each in raw)) if raw else 1
    lists = [[_pad(each[key].float(), most) for key in EACH] for each in raw]
    corners, labels, scores = (torch.stack(part) for part in zip(*lists, strict=True))
    return _from_labels(Frame(size, unit=False).to_unit(corners), labels, scores, classes)


def _pad(values: Tensor, most: int) -> Tensor:
    return torch.cat([values, values.new_zeros(most - len(values), *values.shape[1:])])


def _of_queries(logits: Tensor, classes: int | None) -> Layout:
    """Recognise transformers' detectors: a softmax with a last class of nothing, or a sigmoid a class."""
    sigmoid = classes is not None and logits.shape[2] == classes
    return Layout(
        "logits and pred_boxes of queries",
        partial(_read_queries, sigmoid=sigmoid),
        rows=True,
        classes=logits.shape[2] - (not sigmoid),
    )


def _read_queries(raw: Any, *, sigmoid: bool) -> Detections:
    named = {each.name: each.value for each in list_outputs(raw)}
    logits = named["logits"].float()
    scores = logits.sigmoid() if sigmoid else logits.softmax(-1)[..., :-1]
    return Detections(_to_corners(named["pred_boxes"].float(), "cxcywh"), scores, scores.amax(-1))


def _of_one(value: Tensor, size: tuple[int, int], form: Form | None, classes: int | None) -> Layout | None:
    """Recognise a detector that puts out one tensor."""
    if not value.is_floating_point() or not bool(value.isfinite().all()):
        return None
    known: dict[str, Any] = {"form": form or "xyxy", "classes": classes or LABELS}
    if value.ndim == 4 and value.shape[:2] == (1, 1) and value.shape[3] == 7 and _are_whole(value[..., :2]):
        read = partial(_read_table, columns=(slice(3, 7), 1, 2), frame=Frame(size, _are_unit(value[..., 3:])), **known)
        return Layout("rows of image, label, score and corners", read, rows=False, classes=classes)
    if value.ndim == 2 and value.shape[1] == 7 and _are_whole(value[:, [0, 5]]) and _are_shares(value[:, 6]):
        frame = Frame(size, _are_unit(value[:, 1:5]) if len(value) else None)
        read = partial(_read_table, columns=(slice(1, 5), 5, 6), frame=frame, **known)
        return Layout("rows of image, corners, label and score", read, rows=False, classes=classes)
    return _of_rows(value, size, form, known) if value.ndim == 3 else None


def _of_rows(value: Tensor, size: tuple[int, int], form: Form | None, known: Mapping[str, Any]) -> Layout | None:
    """Recognise heads of YOLO, before and after non-maximum suppression."""
    _, rows, columns = value.shape
    if columns == 6 and rows > 1 and _are_whole(value[..., 5]) and _are_shares(value[..., 4]):
        read = partial(_read_suppressed, frame=Frame(size, _are_unit(value[..., :4])), **known)
        return Layout("corners, score and label of each detection", read, rows=True, classes=None)
    if rows >= PROPOSALS and rows > columns >= 6 and _are_shares(value[..., 4:]) and _are_sides(value[..., 2:4]):
        frame = Frame(size, _are_unit(value[..., :4]))
        read = partial(_read_head, objectness=True, form=form or "cxcywh", frame=frame)
        return Layout("a YOLO head with objectness", read, rows=True, classes=columns - 5)
    if columns >= PROPOSALS and columns > rows >= 5 and _are_shares(value[:, 4:]) and _are_sides(value[:, 2:4]):
        frame = Frame(size, _are_unit(value[:, :4]))
        read = partial(_read_head, objectness=False, form=form or "cxcywh", frame=frame)
        return Layout("a YOLO head without objectness", read, rows=True, classes=rows - 4)
    return None


def _read_table(raw: Any, *, columns: tuple[slice, int, int], form: Form, frame: Frame, classes: int) -> Detections:
    table = list_outputs(raw)[0].value.float()
    table = table.reshape(1, -1, 7)
    table = table[:, table[0, :, 0] >= 0]  # a row of image −1 ends the list
    corners, label, score = columns
    return _from_labels(_to_corners(frame.to_unit(table[..., corners]), form), table[..., label], table[..., score], classes)


def _read_suppressed(raw: Any, *, form: Form, frame: Frame, classes: int) -> Detections:
    rows = list_outputs(raw)[0].value.float()
    return _from_labels(_to_corners(frame.to_unit(rows[..., :4]), form), rows[..., 5], rows[..., 4], classes)


def _read_head(raw: Any, *, objectness: bool, form: Form, frame: Frame) -> Detections:
    rows = list_outputs(raw)[0].value.float()
    rows = rows if objectness else rows.transpose(1, 2)
    corners = _to_corners(frame.to_unit(rows[..., :4]), form)
    if objectness:
        return Detections(corners, rows[..., 5:], rows[..., 4], multiplied=True)
    return Detections(corners, rows[..., 4:], rows[..., 4:].amax(-1))


def _of_lists(outputs: Sequence[Output], size: tuple[int, int], form: Form | None, classes: int | None) -> Layout | None:
    """Recognise lists of boxes, labels, scores and perhaps their number, as SSD and EfficientDet give them."""
    boxes = [each for each in outputs if each.value.ndim in (2, 3) and each.value.shape[-1] == 4]
    if len(boxes) != 1:
        return None
    shape = boxes[0].value.shape[:-1]
    lists = [each for each in outputs if each.value.shape == shape and each is not boxes[0]]
    pair = _tell_apart(lists)
    if pair is None:
        return None
    names = (boxes[0].name, pair[0].name, pair[1].name)
    unit = _are_unit(boxes[0].value) if boxes[0].value.numel() else None
    written: Form = form or ("yxyx" if len(shape) == 2 and (unit or "detection_boxes" in names[0]) else "xyxy")
    read = partial(_read_lists, names=names, form=written, frame=Frame(size, unit), classes=classes or LABELS)
    return Layout(f"boxes ({written}), labels and scores", read, rows=len(shape) == 2, classes=classes)


def _tell_apart(lists: Sequence[Output]) -> tuple[Output, Output] | None:
    """Tell labels from scores: by type, by name, or by the numbers."""
    scores = [each for each in lists if each.value.is_floating_point() and _are_shares(each.value)]
    labels = [each for each in lists if _are_whole(each.value)]
    if len(scores) > 1:
        scores = [each for each in scores if SCORE.search(each.name)] or [each for each in scores if each not in labels]
    labels = [each for each in labels if each not in scores]
    return (labels[0], scores[0]) if len(labels) == len(scores) == 1 else None


def _read_lists(raw: Any, *, names: tuple[str, str, str], form: Form, frame: Frame, classes: int) -> Detections:
    values = {each.name: each.value for each in list_outputs(raw)}
    boxes, labels, scores = (values[name].float() for name in names)
    if boxes.ndim == 2:  # of one image
        boxes, labels, scores = boxes[None], labels[None], scores[None]
    return _from_labels(_to_corners(frame.to_unit(boxes), form), labels, scores, classes)


def _from_labels(
    corners: Float[Tensor, "n q 4"], labels: Float[Tensor, "n q"], scores: Float[Tensor, "n q"], classes: int
) -> Detections:
    """Make detections of lists that name one class each."""
    one_hot = torch.nn.functional.one_hot(labels.round().long().clamp(0, classes - 1), classes).to(scores)
    known = (labels >= 0) & (labels < classes)
    sure = scores.clamp(0, 1) * known
    return Detections(corners, one_hot * sure[..., None], sure)


def _to_corners(boxes: Tensor, form: Form) -> Tensor:
    if form == "yxyx":
        return boxes[..., [1, 0, 3, 2]]
    if form == "cxcywh":
        return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    return boxes


def _are_unit(values: Tensor) -> bool:
    return not values.numel() or float(values.detach().abs().max()) <= UNIT


def _are_whole(values: Tensor) -> bool:
    return not values.is_floating_point() or bool((values == values.round()).all())


def _are_shares(values: Tensor) -> bool:
    return bool(((values >= -1e-3) & (values <= 1 + 1e-3)).all())


def _are_sides(values: Tensor) -> bool:
    return bool((values >= 0).all())
