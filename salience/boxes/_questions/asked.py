"""A model whose answers are of places, and the box that it becomes for one picture once it is asked about some of them."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._stranger import Stranger
from salience.engine import target as targets
from salience.engine.training.modes import evaluating
from salience.errors import TargetError
from salience.picture import Geometry
from salience.runtime import disk_cache
from salience.runtime.module import run_eagerly
from salience.runtime.torch import TorchRuntime
from salience.types import BlackBox, Finding, Image, Images, Probabilities, QuestionBox, Target

PLACE = re.compile(r"^(?P<name>.*?)\s*\bat\s+(?P<corners>-?[\d.]+(\s*,\s*-?[\d.]+){3})$")
Corners = tuple[float, float, float, float]


class AskedModel(QuestionBox):
    """A model of which a picture's places are asked; by itself it answers for whole pictures, with a score a class."""

    def __init__(self, model: Stranger, classes: Sequence[str], findings: Sequence[Finding], batch: int | None) -> None:
        self.model, self.classes, self.findings = model, tuple(classes), tuple(findings)
        self.name, self.size, self.channels = model.name, model.size, model.channels
        self.mean, self.preparation, self.batch = model.mean, model.preparation, batch
        self._asked: tuple[Tensor, PlaceBox] | None = None

    @property
    def device(self) -> torch.device:
        """Where images are scored."""
        return self.model.device

    @property
    def fingerprint(self) -> str:
        """That of the model and of how its answers are read."""
        return disk_cache.make_key((self.model.fingerprint, type(self).__name__, self.describe_reading(), self.classes))[:16]

    def put_out(self, images: Images) -> Any:
        """Return all that the model puts out, without a record of gradients."""
        if isinstance(self.model, TorchRuntime):
            with torch.no_grad(), evaluating(self.model.module), run_eagerly(self.model.module):
                return self.model.module(self.model.normalise(images.to(self.device)))
        return self.model.put_out(images)

    def split(self, images: Images) -> Sequence[Images]:
        """Split images into batches that the model takes."""
        parts: Sequence[Images] = images.split(self.batch or len(images))
        return parts

    @abstractmethod
    def describe_reading(self) -> str:
        """Say how its answers are read."""

    @abstractmethod
    def find_places(self, image: Image) -> PlaceBox:
        """Find what there is to ask about in an image."""

    @abstractmethod
    def add_place(self, places: PlaceBox, wanted: str, name: str, corners: Corners) -> PlaceBox:
        """Add a place that its user named; corners are x0, y0, x1, y1 in 0…1 of the image."""

    def ask(self, image: Image, geometry: Geometry, wanted: Any) -> tuple[BlackBox, Target]:
        """Give the box whose classes are the places of a picture, and the one that is wanted."""
        places = self._find(image)
        for each in wanted if isinstance(wanted, (tuple, list)) else (wanted,):
            place = PLACE.match(each) if isinstance(each, str) else None
            if place is not None and each not in places.classes:
                corners = to_unit(tuple(map(float, place["corners"].split(","))), geometry)  # type: ignore[arg-type]  # four of them
                places = self.add_place(places, each, place["name"].strip(), corners)
        places.picture = hash_image(image)
        return places, targets.resolve(self._spell(wanted, places), places.order, places.classes)

    def _find(self, image: Image) -> PlaceBox:
        """Find the places of an image; those of the last one are known, and other threads may ask about others meanwhile."""
        asked = self._asked
        if asked is None or not torch.equal(asked[0], image):
            asked = image.clone(), self.find_places(image)
            self._asked = asked
        return asked[1]

    def list_places(self, image: Image, geometry: Geometry) -> tuple[str, ...]:  # noqa: ARG002  # what is found needs none
        """Name what there is to ask about, the surest first."""
        return tuple(self._find(image).classes)

    def _spell(self, wanted: Any, places: PlaceBox) -> Any:
        """Let the name of a class stand for its first place."""
        if isinstance(wanted, (tuple, list)):
            return tuple(self._spell(each, places) for each in wanted)
        if not places.classes:
            raise TargetError(f"expected something in the picture that {self.name} {places.none_found}")
        if not isinstance(wanted, str) or wanted in (*places.classes, "predicted", "pred", "runner-up"):
            return wanted
        first = f"{wanted} 1".lower()
        named = next((each for each in places.classes if each.lower() in (first, wanted.lower())), None)
        if named is None and not wanted.isdigit():
            known = ", ".join(places.classes[:8])
            raise TargetError(
                f"expected one of {known}, got {wanted!r}, which is not found in the picture: to ask why not, give a place "
                f'as x0, y0, x1, y1 in pixels of the picture, as in "{wanted} at 10,20,110,220"'
            )
        return wanted if named is None else named

    def __call__(self, images: Images) -> Probabilities:
        """Score each class in whole images."""
        return torch.cat([self.score_classes(each) for each in self.split(images)])

    @abstractmethod
    def score_classes(self, images: Images) -> Probabilities:
        """Score each class in images that the model takes at once."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}: {len(self.classes)} classes, {self.preparation}>"


class PlaceBox(BlackBox):
    """What a model says of some places of one picture, as a box: each place is a class."""

    none_found = "finds anything in, got none"

    picture = ""  # a hash of the one that is asked about

    def __init__(self, asked: AskedModel, names: Sequence[str], corners: Float[Tensor, "t 4"]) -> None:
        self.asked, self.classes, self.corners = asked, tuple(names), corners
        self.name, self.size, self.channels, self.batch = asked.name, asked.size, asked.channels, asked.batch
        self.mean, self.preparation, self.findings = asked.mean, asked.preparation, asked.findings

    @property
    def order(self) -> list[float]:
        """What ranks the places, the first the likeliest."""
        return [float(-each) for each in range(len(self.classes))]

    @property
    def question(self) -> Mapping[str, Any]:  # type: ignore[override]  # it follows the places
        """What is asked, in plain values: the corners of each place in 0…1 of the image."""
        return {
            "kind": type(self.asked).__name__.lower(),
            "places": dict(zip(self.classes, self.corners.tolist(), strict=True)),
        }

    @property
    def device(self) -> torch.device:
        """Where images are scored."""
        return self.asked.device

    @property
    def fingerprint(self) -> str:
        """That of the model, of the picture and of what is asked about it."""
        return disk_cache.make_key((self.asked.fingerprint, self.picture, self.classes))[:16]

    def __call__(self, images: Images) -> Probabilities:
        """Score each place in images."""
        return torch.cat([self.score_places(each) for each in self.asked.split(images)]).float()

    @abstractmethod
    def score_places(self, images: Images) -> Probabilities:
        """Score each place in images that the model takes at once."""


def hash_image(image: Image) -> str:
    """Hash what can be seen of an image.

    >>> hash_image(torch.zeros(3, 8, 8)) == hash_image(torch.ones(3, 8, 8))
    False
    """
    return hashlib.sha256((image.detach().cpu() * 255).round().clamp(0, 255).byte().numpy().tobytes()).hexdigest()[:16]


def to_unit(corners: Corners, geometry: Geometry) -> Corners:
    """Bring corners from pixels of the photograph to shares of the image; TargetError for a rectangle that is none.

    >>> to_unit((10.0, 0.0, 20.0, 40.0), Geometry((40, 20), (8, 8), (0, 40, 0, 20)))
    (0.5, 0.0, 1.0, 1.0)
    """
    top, bottom, left, right = geometry.seen
    x0, x1 = ((each - left) / (right - left) for each in corners[::2])
    y0, y1 = ((each - top) / (bottom - top) for each in corners[1::2])
    if x0 >= x1 or y0 >= y1 or min(x1, y1) <= 0 or max(x0, y0) >= 1:
        raise TargetError(
            f"expected a place as x0,y0,x1,y1 in pixels of the picture, {geometry.photograph[1]} wide and "
            f"{geometry.photograph[0]} high, got {','.join(f'{each:g}' for each in corners)}: does it lie in what is seen?"
        )
    return (x0, y0, x1, y1)
