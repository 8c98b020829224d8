"""What the header of an explanation may say: names that can be shown, numbers in their range, maps of the size it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from salience.limits import NUMBER, PASSES, PIXELS, SIDE, expect_name, expect_number, expect_settings

DEEP = 50  # mappings and lists in one another
TEXTS = ("image", "method", "budget")
MAPPINGS = ("box", "settings", "target", "evidence", "versions", "geometry")
BOX = ("name", "fingerprint", "backend", "preprocessing", "device")  # what is printed of it


def expect_plausible(header: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> None:
    """Expect a header that can be true of its arrays; KeyError, ValueError or SettingError for another.

    >>> expect_plausible({"image": "red.png", "method": 3}, {})
    Traceback (most recent call last):
        ...
    ValueError: its method is no text
    """
    _expect_depth(header, DEEP)
    for key in TEXTS:
        expect_text(header[key], key)
    for key in MAPPINGS:
        if not isinstance(header[key], Mapping):
            raise ValueError(f"its {key} is no mapping")  # noqa: TRY004  # as below
    for key in (each for each in BOX if each in header["box"]):
        expect_text(header["box"][key], f"box's {key}")
    for note in header["notes"]:
        expect_text(note, "note")
    expect_settings(header["settings"])
    _expect_scores(header)
    expect_number("passes", header["passes"], 0, PASSES, whole=True)
    expect_number("seconds", header["seconds"], 0, NUMBER)
    _expect_geometry(header["geometry"], arrays)


def expect_text(value: Any, what: str) -> None:
    """Expect a text that can be shown; ValueError or SettingError for anything else.

    >>> expect_text("rise", "method")
    """
    if not isinstance(value, str):
        raise ValueError(f"its {what} is no text")  # noqa: TRY004  # it is the file that is wrong, no call
    expect_name(value, what)


def _expect_scores(header: Mapping[str, Any]) -> None:
    top5 = header["top5"]
    if not isinstance(top5, Sequence) or len(top5) > 5:
        raise ValueError("its likeliest classes are more than five")
    for score in (header["target"], *top5):
        expect_text(score["name"], "class")
        if not isinstance(score["probability"], (int, float)):
            raise ValueError("a score is no number")  # noqa: TRY004  # as above
        if score["index"] is not None:
            expect_number("the index of a class", score["index"], 0, NUMBER, whole=True)
    if header["stability"] is not None:
        expect_number("stability", header["stability"], -1.001, 1.001)


def _expect_geometry(shape: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> None:
    """Expect a photograph of a size that can be, and maps of the size that the box is said to take."""
    height, width = shape["photograph"]
    for side in (height, width):
        expect_number("the photograph's side", side, 1, PIXELS, whole=True)
    expect_number("the photograph's pixels", height * width, 1, PIXELS, whole=True)
    for side in shape["size"]:
        expect_number("the map's side", side, 1, SIDE, whole=True)
    top, bottom, left, right = shape["seen"]
    if not all(math.isfinite(each) and abs(each) <= NUMBER for each in (top, bottom, left, right)):
        raise ValueError("what the box saw has no edges")
    if top >= bottom or left >= right:
        raise ValueError("the box saw nothing")
    for key in ("saliency", *(["error"] if "error" in arrays else [])):
        if arrays[key].shape != tuple(shape["size"]) or not arrays[key].is_floating_point():
            raise ValueError(f"its {key} is no map of {shape['size'][0]}×{shape['size'][1]}")
    if arrays["picture"].ndim != 1 or arrays["picture"].element_size() != 1:
        raise ValueError("its picture is no file")


def _expect_depth(value: Any, room: int) -> None:
    """Expect values that anything can walk through."""
    if room == 0:
        raise ValueError(f"its values lie in one another more than {DEEP} times")
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for each in inner:
        _expect_depth(each, room - 1)
