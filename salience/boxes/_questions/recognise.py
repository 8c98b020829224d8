"""Recognise a model that answers for places, and make what can be asked about them of it."""

from __future__ import annotations

from typing import Any, get_args

from salience.boxes._names import match_class_names
from salience.boxes._questions.asked import AskedModel
from salience.boxes._questions.detection import LEAST, Detector
from salience.boxes._questions.layouts import LABELS, Form, find_layout
from salience.boxes._questions.segmentation import Segmenter, find_map_layout
from salience.boxes._stranger import Stranger
from salience.errors import BoxError, PlacesError, SettingError, UnknownName
from salience.types import Finding


def expect_scores(box: Stranger, raw: Any, *, together: bool) -> None:
    """Expect an answer to one image that may hold scores of classes; PlacesError for that of a detector or a segmenter."""
    if {"head", "output"} & box.given:
        return
    if find_layout(raw, box.size, None, box.class_count) or find_map_layout(raw, box.size):
        raise PlacesError(box, raw, together=together)


def make_askable(met: PlacesError, *, corners: str | None = None, least: Any = LEAST) -> AskedModel:
    """Make the box that can be asked about places; `corners` says how rectangles are written, `least` how sure one is."""
    model: Stranger = met.model
    model.met, model.head, batch = True, "none", None if met.together else 1
    if corners is not None and corners not in get_args(Form):
        raise UnknownName.of("form of corners", corners, get_args(Form))
    layout = find_layout(met.answer, model.size, corners, model.class_count)  # type: ignore[arg-type]  # looked at above
    if layout is not None:
        classes, said = _name_classes(model, layout.classes)
        findings = _write_down(model, f"detections: {layout.name}", said, None if layout.rows else 1)
        return Detector(model, layout, classes, findings, batch, _read_share(least))
    maps = find_map_layout(met.answer, model.size)
    if maps is None:  # the answer was looked at before
        raise BoxError(f"expected detections or regions from {model.name}, got neither: give output= or head=")
    classes, said = _name_classes(model, maps.classes)
    return Segmenter(model, maps, classes, _write_down(model, f"regions: {maps.name}", said, batch), batch)


def _name_classes(model: Stranger, count: int | None) -> tuple[tuple[str, ...], str]:
    names = model._classes  # noqa: SLF001  # what was given, not what is counted
    return match_class_names(names, count or len(names or ()) or LABELS, model.name, model.published.get("classes"))


def _write_down(model: Stranger, output: str, classes: str, batch: int | None) -> tuple[Finding, ...]:
    height, width = model.size
    return (
        Finding("channels", model.channels, f"{model.channels}"),
        Finding("size", [height, width], f"{height}×{width}"),
        Finding("output", output, output),
        Finding("batch", batch, "single images" if batch else "any size: a batch has the answers of its single images"),
        Finding("classes", None, classes),
    )


def _read_share(least: Any) -> float:
    try:
        share = float(least)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 < share < 1:
        raise SettingError(f"expected least as a share between 0 and 1, got {least!r}")
    return share
