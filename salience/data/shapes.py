"""`shapes:NAME`: synthetic scenes, answer and truth known. The colour of the object is its label; `toy:colour` sees it.

- `plain`: one object on a dull texture.
- `distractors`: the object, and two of the other colours that have at most a quarter of its size together.
- `shortcut`: the object, and in the top left corner a tag of one, two or three bars that mostly goes with the label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as pil

from salience import limits
from salience.case import Data, Sample
from salience.data import _masks, _options
from salience.data._lazy import Lazy
from salience.engine import seeding
from salience.errors import SettingError, UnknownName

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
NAMES = ("plain", "distractors", "shortcut")
COLOURS = {"red": (230, 30, 30), "green": (30, 230, 30), "blue": (30, 30, 230)}
FORMS = {"disc": 90, "square": 4, "triangle": 3, "star": 10}  # corners
OCTAVES = ((5, 5), (14, 3), (56, 2))  # cells a side, weight


def load(
    name: str,
    *,
    count: Any = 100,
    seed: Any = 0,
    size: Any = 224,
    together: Any = None,
    truth: Any = None,
    **unknown: Any,
) -> Data:
    """Draw scenes; a sample depends on the scene's name, the seed, the size and its own number only.

    For `shortcut`: `together` is the probability that the tag is the label's own (0.9), and `truth=tag` puts the mask
    on the tag instead of the object. The background is grey, pixel by pixel, so `toy:colour` gives a scene's object
    the logit 40 · (230 − 30) / 255 · its share of the pixels, and everything grey nothing.
    """
    _options.expect_known(load, unknown)
    if name not in NAMES:
        raise UnknownName.of("scene of shapes:", name, NAMES)
    if name != "shortcut" and not (together is None and truth is None):
        raise SettingError(f"expected together and truth for shapes:shortcut, got them for shapes:{name}: leave them out")
    if truth not in (None, "object", "tag"):
        raise SettingError(f"expected truth as object or tag, got {truth!r}")
    many, side = (
        int(_options.read_number(key, value, 1, limits.SAMPLES, whole=True))
        for key, value in (("count", count), ("size", size))
    )
    _options.read_number("size", side, 16, limits.SIDE)
    start = int(_options.read_number("seed", seed, 0, whole=True))
    trust = 0.9 if together is None else _options.read_number("together", together, 0, 1)

    def sample(number: int) -> Sample:
        label = list(COLOURS)[number % 3]
        scene = _Scene(side, seeding.generator(start, "shapes", name, number))
        place = scene.whole(name, number % 3, trust)[truth or "object"]
        return Sample(f"{number:05d}", scene.pixels, (label,), mask=place.astype(np.uint8) * 255)

    given = {"count": many, "seed": start, "size": side, "together": together, "truth": truth}
    return Data(_options.write_spec("shapes", name, **given), Lazy(sample, range(many)))


@dataclass
class _Scene:
    """A picture in the making, and the dice that it is thrown with."""

    size: int
    dice: torch.Generator

    def __post_init__(self) -> None:
        self.pixels = np.repeat(self.texture()[:, :, None], 3, axis=2)
        self.taken = np.zeros((self.size, self.size), dtype=bool)

    def whole(self, name: str, label: int, together: float) -> dict[str, Any]:
        """Draw everything; return the places of the object and of the tag."""
        found: dict[str, Any] = {}
        if name == "shortcut":
            own = self.throw(0, 1) < together
            found["tag"] = self.tag(label if own else (label + 1 + self.pick(2)) % 3)
        share = self.throw(0.06, 0.15)
        found["object"] = self.shape(share, list(COLOURS.values())[label])
        if name == "distractors":
            for other in (1, 2):
                self.shape(share * self.throw(0.08, 0.125), list(COLOURS.values())[(label + other) % 3])
        return found

    def throw(self, low: float, high: float) -> float:
        """Draw a number."""
        return low + (high - low) * float(torch.rand((), generator=self.dice, dtype=torch.float64))

    def pick(self, count: int) -> int:
        """Draw one of several."""
        return int(torch.randint(count, (), generator=self.dice))

    def texture(self) -> Any:
        """Draw dull clouds: noise of three grains, in whole numbers, so that every machine rounds alike."""
        clouds = np.zeros((self.size, self.size), dtype=np.int64)
        for cells, weight in OCTAVES:
            grain = pil.fromarray(torch.randint(60, 200, (cells, cells), generator=self.dice, dtype=torch.uint8).numpy())
            clouds += weight * np.asarray(grain.resize(clouds.shape, pil.Resampling.BICUBIC), dtype=np.int64)
        return (clouds // sum(weight for _, weight in OCTAVES)).astype(np.uint8)

    def shape(self, share: float, colour: Sequence[int]) -> Any:
        """Paint a shape that covers a share of the picture, where nothing is yet."""
        form = list(FORMS)[self.pick(len(FORMS))]
        radius = math.sqrt(share / _area(outline(form, 1, 0, 0, 0))) * self.size
        while True:
            x, y = (self.throw(radius, self.size - radius) for _ in range(2))
            place = _masks.fill_polygon(outline(form, radius, x, y, self.throw(0, 2 * math.pi)), (self.size, self.size))
            if not (place & self.taken).any():
                self.taken |= place
                self.pixels[place] = colour
                return place

    def tag(self, bars: int) -> Any:
        """Paint a dark plate with one, two or three light bars."""
        side, begin = self.size // 7, self.size // 32
        plate = self.pixels[begin : begin + side, begin : begin + side]
        plate[:] = 20
        for bar in range(bars + 1):
            top = side * (2 * bar + 1) // 7
            plate[top : top + max(1, side // 7), side // 7 : side - side // 7] = 235
        place = np.zeros_like(self.taken)
        place[begin : begin + side, begin : begin + side] = True
        self.taken |= place
        return place


def outline(form: str, radius: float, x: float, y: float, turn: float) -> list[float]:
    """List the corners of a shape, x, y, x, y, …; a star's every other one lies at 0.45 of its radius."""
    corners = FORMS[form]
    points: list[float] = []
    for number in range(corners):
        angle = turn + 2 * math.pi * number / corners
        length = radius * (0.45 if form == "star" and number % 2 else 1)
        points += [x + length * math.cos(angle), y + length * math.sin(angle)]
    return points


def _area(points: Sequence[float]) -> float:
    x, y = np.asarray(points).reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
