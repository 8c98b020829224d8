"""Why is this detected here? What a detector says of a rectangle and a class, as D-RISE scores it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._questions.asked import AskedModel, Corners, PlaceBox
from salience.boxes._questions.detections import Detections, list_distinct, overlap
from salience.boxes._questions.layouts import Layout
from salience.boxes._stranger import Stranger
from salience.errors import UnknownName
from salience.types import Finding, Image, Images, Probabilities

LEAST, MOST = 0.3, 20  # how sure a detection is, and how many of a picture are named


class Detector(AskedModel):
    """A model that finds things: of a picture each detection can be asked about, or a rectangle of one's own.

    By itself it scores a class by the surest detection of it.
    """

    def __init__(
        self,
        model: Stranger,
        layout: Layout,
        classes: Sequence[str],
        findings: Sequence[Finding] = (),
        batch: int | None = None,
        least: float = LEAST,
    ) -> None:
        super().__init__(model, classes, findings, 1 if not layout.rows else batch)
        self.layout, self.least = layout, least

    def describe_reading(self) -> str:
        """Say how its answers are read."""
        return self.layout.name

    def detect(self, images: Images) -> Detections:
        """Find all that the model proposes in images that it takes at once."""
        return self.layout.read(self.put_out(images))

    def score_classes(self, images: Images) -> Probabilities:
        """Score each class by the surest detection of it."""
        found = self.detect(images).confidence
        return found.amax(1) if found.shape[1] else found.new_zeros(len(images), len(self.classes))

    def find_places(self, image: Image) -> DetectionBox:
        """Name the detections in an image, those of a class numbered, the surest first."""
        found = self.detect(image[None])
        chosen = list_distinct(found, self.least, MOST)
        count = Counter[str]()
        names = []
        for each in chosen:
            label = self.classes[int(found.confidence[0, each].argmax())].split(",")[0]
            count[label] += 1
            names.append(f"{label} {count[label]}")
        return DetectionBox(self, names, found.corners[0, chosen].clone(), found.scores[0, chosen].clone(), found)

    def add_place(self, places: PlaceBox, wanted: str, name: str, corners: Corners) -> DetectionBox:
        """Ask about a rectangle that its user named: of a class, or of what is most detected there."""
        given = torch.tensor([corners])
        before = places if isinstance(places, DetectionBox) else DetectionBox(self, (), torch.empty(0, 4), torch.empty(0, 1))
        scores = self._score_at(name, given, before.seen)
        return DetectionBox(
            self,
            (*places.classes, wanted),
            torch.cat([places.corners, given.to(places.corners)]),
            torch.cat([before.scores, scores.to(before.scores)]),
            before.seen,
        )

    def _score_at(self, name: str, corners: Float[Tensor, "1 4"], proposals: Detections | None) -> Float[Tensor, "1 k"]:
        if name:
            spelt = {each.split(",")[0].lower(): index for index, each in enumerate(self.classes)}
            if name.lower() not in spelt:
                raise UnknownName.of("class", name, [each.split(",")[0] for each in self.classes])
            return torch.eye(len(self.classes))[[spelt[name.lower()]]]
        if proposals is None or not proposals.corners.shape[1]:
            return torch.ones(1, len(self.classes))
        near = overlap(proposals.corners[0], corners.to(proposals.corners))[:, 0] * proposals.objectness[0]
        return proposals.scores[0, [int(near.argmax())]]


class DetectionBox(PlaceBox):
    """The detections of one picture as a box: IoU · cosine of class scores · objectness, for the best proposal (D-RISE)."""

    def __init__(
        self,
        asked: Detector,
        names: Sequence[str],
        corners: Float[Tensor, "t 4"],
        scores: Float[Tensor, "t k"],
        seen: Detections | None = None,
    ) -> None:
        super().__init__(asked, names, corners)
        self.detector, self.scores, self.seen = asked, scores, seen
        self.none_found = f"is surer of than {asked.least:.0%}, got nothing: give least= for what is less sure, or a place"

    def score_places(self, images: Images) -> Probabilities:
        """Say how far each image still has each detection."""
        return self.detector.detect(images).compare(self.corners, self.scores)
