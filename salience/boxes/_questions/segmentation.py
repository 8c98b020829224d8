"""Why is this region this class? The class's share of a region, the predicted one or one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._questions.asked import AskedModel, Corners, PlaceBox
from salience.boxes._stranger import Stranger
from salience.errors import UnknownName
from salience.runtime.outputs import list_outputs
from salience.types import Finding, Image, Images, Probabilities

FINEST = 8  # pixels of the image that a row of the answer stands for, at most: coarser maps are features
LEAST = 16  # rows and columns
MOST_CLASSES = 1000
REST = ("background", "unlabeled", "other", "void")  # asked about last
MAIN = ("out", "logits")  # what the main answer is called beside others


@dataclass(frozen=True)
class MapLayout:
    """How a model says which class is where.

    >>> MapLayout("maps of logits", "out").read({"out": torch.zeros(1, 2, 8, 8)}).shape
    torch.Size([1, 2, 8, 8])
    """

    name: str
    output: str  # the one that holds it; "" where it is the only one, or for queries
    classes: int = 0

    def read(self, raw: Any) -> Float[Tensor, "n k y x"]:
        """Read each class's probability in each place."""
        named = {each.name: each.value for each in list_outputs(raw)}
        if "masks_queries_logits" in named:  # Mask2Former and its kin: a class and a mask a query
            shares = named["class_queries_logits"].float().softmax(-1)[..., :-1]
            maps = torch.einsum("nqk,nqyx->nkyx", shares, named["masks_queries_logits"].float().sigmoid())
            return maps / maps.sum(1, keepdim=True).clamp(min=1e-9)
        maps = named[self.output].float()
        return torch.cat([1 - maps.sigmoid(), maps.sigmoid()], 1) if maps.shape[1] == 1 else to_shares(maps)


def to_shares(maps: Float[Tensor, "n k y x"]) -> Float[Tensor, "n k y x"]:
    """Give probabilities as they are, and make them of logits.

    >>> to_shares(torch.zeros(1, 4, 1, 1)).flatten()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    shares = bool((maps >= 0).all()) and bool(((maps.sum(1) - 1).abs() < 1e-2).all())
    return maps if shares else maps.softmax(1)


def find_map_layout(raw: Any, size: tuple[int, int]) -> MapLayout | None:
    """Find where a model says which class is where, in its answer to one image; None where it does not.

    >>> find_map_layout({"out": torch.zeros(1, 21, 32, 32), "aux": torch.zeros(1, 21, 32, 32)}, (32, 32)).output
    'out'
    """
    named = {each.name: each.value for each in list_outputs(raw)}
    if {"class_queries_logits", "masks_queries_logits"} <= named.keys():
        return MapLayout("classes and masks of queries", "", named["class_queries_logits"].shape[2] - 1)
    maps = {
        name: value
        for name, value in named.items()
        if value.ndim == 4
        and value.is_floating_point()
        and value.shape[1] <= MOST_CLASSES
        and min(value.shape[2:]) >= LEAST
        and value.shape[2] * FINEST >= size[0]
        and value.shape[3] * FINEST >= size[1]
    }
    chosen = next((name for name in MAIN if name in maps), next(iter(maps), None) if len(maps) == 1 else None)
    if chosen is None or len(named) > len(maps):
        return None
    return MapLayout("maps of each class", chosen, max(2, maps[chosen].shape[1]))


class Segmenter(AskedModel):
    """A model that gives each pixel a class: of a picture the region of each class can be asked about.

    By itself it scores a class by its share of the picture.
    """

    def __init__(
        self,
        model: Stranger,
        layout: MapLayout,
        classes: Sequence[str],
        findings: Sequence[Finding] = (),
        batch: int | None = None,
    ) -> None:
        super().__init__(model, classes, findings, batch)
        self.layout = layout

    def describe_reading(self) -> str:
        """Say how its answers are read."""
        return self.layout.name

    def segment(self, images: Images) -> Float[Tensor, "n k y x"]:
        """Give each place the probability of each class."""
        return self.layout.read(self.put_out(images))

    def score_classes(self, images: Images) -> Probabilities:
        """Score each class by its share of the image."""
        return self.segment(images).mean((2, 3))

    def find_places(self, image: Image) -> RegionBox:
        """Name the classes that are somewhere in an image, the largest first."""
        likeliest = self.segment(image[None])[0].argmax(0)
        sizes = torch.bincount(likeliest.flatten(), minlength=len(self.classes))
        largest = [each for each in sizes.argsort(descending=True, stable=True).tolist() if sizes[each]]
        chosen = sorted(largest, key=lambda each: self.classes[each].strip("_ ").lower() in REST)
        regions = torch.stack([(likeliest == each).float() for each in chosen])
        return RegionBox(self, [self.classes[each].split(",")[0] for each in chosen], chosen, regions)

    def add_place(self, places: PlaceBox, wanted: str, name: str, corners: Corners) -> RegionBox:
        """Ask about a rectangle that its user named."""
        assert isinstance(places, RegionBox)  # noqa: S101  # `find_places` makes no other
        spelt = {each.split(",")[0].lower(): index for index, each in enumerate(self.classes)}
        if name.lower() not in spelt:
            raise UnknownName.of("class", name, [each.split(",")[0] for each in self.classes])
        height, width = places.regions.shape[1:]
        y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        region = ((y >= corners[1]) & (y <= corners[3]))[:, None] & ((x >= corners[0]) & (x <= corners[2]))
        regions = torch.cat([places.regions, region[None].to(places.regions)])
        return RegionBox(self, [*places.classes, wanted], [*places.columns, spelt[name.lower()]], regions)


class RegionBox(PlaceBox):
    """The regions of one picture as a box: the mean probability of the class there."""

    def __init__(
        self, asked: Segmenter, names: Sequence[str], columns: Sequence[int], regions: Float[Tensor, "t y x"]
    ) -> None:
        super().__init__(asked, names, torch.stack([find_corners(each) for each in regions]))
        self.segmenter, self.columns, self.regions = asked, tuple(columns), regions

    def score_places(self, images: Images) -> Probabilities:
        """Say how likely each class is in its region."""
        shares = self.segmenter.segment(images)[:, list(self.columns)]
        return (shares * self.regions).sum((2, 3)) / self.regions.sum((1, 2)).clamp(min=1)


def find_corners(region: Float[Tensor, "y x"]) -> Float[Tensor, " 4"]:
    """Find the rectangle around a region, as x0, y0, x1, y1 in 0…1.

    >>> find_corners(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([0.5000, 0.0000, 1.0000, 0.5000])
    """
    rows, columns = (region.amax(axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return torch.tensor([0.0, 0.0, 1.0, 1.0])
    height, width = region.shape
    return torch.tensor(
        [float(columns[0]) / width, float(rows[0]) / height, float(columns[-1] + 1) / width, float(rows[-1] + 1) / height]
    )
