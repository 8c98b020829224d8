"""What the header of a file may say, checked once when it is opened: names that can be shown, numbers in their range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from salience.limits import NAME, NUMBER, PASSES, PIXELS, SIDE, expect_settings

T = TypeVar("T")
Name = Annotated[str, Meta(max_length=NAME)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Length = Annotated[float, Meta(ge=0, le=NUMBER)]
Edge = Annotated[float, Meta(ge=-NUMBER, le=NUMBER)]
Count = Annotated[int, Meta(ge=0, le=PASSES)]
Pixels = Annotated[int, Meta(ge=1, le=PIXELS)]
Side = Annotated[int, Meta(ge=1, le=SIDE)]
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Score(msgspec.Struct):
    """A class and its score.

    >>> Score(0, "red", 0.9).name
    'red'
    """

    index: Count | None
    name: Name
    probability: Number


class Shape(msgspec.Struct):
    """Sizes of the photograph and of the map, and what the box saw of the former: top, bottom, left, right.

    >>> Shape((40, 30), (32, 32), (0.0, 40.0, 0.0, 30.0)).size
    (32, 32)
    """

    photograph: tuple[Pixels, Pixels]
    size: tuple[Side, Side]
    seen: tuple[Edge, Edge, Edge, Edge]

    def __post_init__(self) -> None:
        top, bottom, left, right = self.seen
        if top >= bottom or left >= right:
            raise ValueError("the box saw nothing")
        if self.photograph[0] * self.photograph[1] > PIXELS:
            raise ValueError("a photograph of too many pixels")


class Finding(TypedDict):
    """What was found when a box was met.

    >>> Finding(about="head", said="softmax")["about"]
    'head'
    """

    about: Name
    said: Name


Check = TypedDict(
    "Check",
    {"speed-up": NotRequired[Length | None], "refused": NotRequired[Name | None], "precision": NotRequired[Name | None]},
)


class Question(TypedDict):
    """What is asked of one picture: places by name, as shares of the image: left, top, right, bottom.

    >>> read_as(Question, {"places": {"car at 1": [0, 0, 1, 0.5]}})["places"]
    {'car at 1': (0.0, 0.0, 1.0, 0.5)}
    """

    places: NotRequired[dict[Name, tuple[Edge, Edge, Edge, Edge] | None]]


class Box(TypedDict):
    """What is printed of a box.

    >>> box = {"name": "toy:colour", "fingerprint": "4e6e", "backend": "exact", "preprocessing": "none", "device": "cpu"}
    >>> read_as(Box, box | {"check": {}})["backend"]
    'exact'
    """

    name: Name
    fingerprint: Name
    backend: Name
    preprocessing: Name
    device: Name
    check: Check
    found: NotRequired[list[Finding]]
    access: NotRequired[Name]
    question: NotRequired[Question | None]


class Block(TypedDict):
    """A block of layers of SISE.

    >>> Block(layer="conv1")
    {'layer': 'conv1'}
    """

    layer: Name


class Evidence(TypedDict):
    """What is shown of the evidence; the rest is any plain value.

    >>> read_as(Evidence, {"layers": ["act"], "maps": 3})["layers"]
    ['act']
    """

    layers: NotRequired[list[Name] | None]
    blocks: NotRequired[list[Block]]
    area: NotRequired[Number]
    kept: NotRequired[Number]
    left: NotRequired[Number]


class Drops(TypedDict):
    """How far the score falls without each band.

    >>> Drops(drops=[0.1, 0.2])
    {'drops': [0.1, 0.2]}
    """

    drops: list[Number]


class Bands(TypedDict):
    """What each band is worth.

    >>> Bands(everywhere={"drops": [0.1]}, high={"drops": []}, area=0.15, passes=2)["passes"]
    2
    """

    everywhere: Drops
    high: Drops
    area: Length
    passes: Count


class Variant(TypedDict):
    """What a method is called after, where it has several.

    >>> read_as(Variant, {"variant": "plus", "masks": 8})
    {'variant': 'plus'}
    """

    variant: NotRequired[Name]


class Prepared(TypedDict):
    """The least and the largest value of the image.

    >>> read_as(Prepared, {"values": [0, 1]})
    {'values': (0.0, 1.0)}
    """

    values: NotRequired[tuple[Number, Number] | None]


class Record(msgspec.Struct):
    """The header of an explanation.

    >>> Record.__struct_fields__[:3]
    ('image', 'method', 'budget')
    """

    image: Name
    method: Name
    budget: Name
    box: Box
    settings: Variant
    target: Score
    top5: Annotated[list[Score], Meta(max_length=5)]
    passes: Count
    seconds: Length
    stability: Annotated[float, Meta(ge=-1.001, le=1.001)] | None
    seed: int | None
    notes: list[Name]
    geometry: Shape
    evidence: Evidence
    versions: dict[Name, Name]
    prepared: Prepared = msgspec.field(default_factory=Prepared)
    bands: Bands | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not -(2**63) <= self.seed <= 2**64:
            raise ValueError("a seed of more than 64 bits")


class Source(TypedDict):
    """Where an explainer's features come from.

    >>> read_as(Source, {"spec": "box", "layers": ["act"], "channels": [3]})["channels"]
    [3]
    """

    spec: Name
    fingerprint: NotRequired[Name]
    layers: Annotated[list[Name], Meta(min_length=1)]
    channels: Annotated[list[Annotated[int, Meta(ge=1, le=SIDE)]], Meta(min_length=1)]


class Fitted(TypedDict):
    """The box that an explainer was fitted for.

    >>> Fitted(name="toy:colour", fingerprint="4e6e")["name"]
    'toy:colour'
    """

    name: Name
    fingerprint: Name


class Explainer(msgspec.Struct):
    """The header of an explainer.

    >>> source = Source(spec="box", layers=["act"], channels=[3])
    >>> Explainer(Fitted(name="toy:colour", fingerprint="4e6e"), [0], ["red"], source, format=1).bias
    False
    """

    box: Fitted
    classes: Annotated[list[Annotated[int, Meta(ge=0, le=PIXELS)]], Meta(min_length=1)]
    names: list[Name]
    source: Source
    format: int
    bias: bool = False
    trained: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.names) or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes without a name each")
        if len(self.source["layers"]) != len(self.source["channels"]):
            raise ValueError("layers without channels each")


class Card(msgspec.Struct):
    """What `box.json` of a trained box says.

    >>> read_as(Card, {"name": "a", "fingerprint": "4e6e", "of": None}).name
    'a'
    """

    name: Name
    fingerprint: Name
    of: Name | None


def read_as(cls: type[T], plain: Any) -> T:
    """Read plain values as a schema says; ValueError in a few words for others.

    >>> read_as(Card, {"name": "a", "fingerprint": 3, "of": None})
    Traceback (most recent call last):
        ...
    ValueError: expected `str`, got `int` - at `$.fingerprint`
    """
    try:
        return msgspec.convert(plain, cls)
    except (ValueError, OverflowError) as problem:  # also a text that is no Unicode
        said = str(problem)
        raise ValueError(said[:1].lower() + said[1:]) from None


def read_record(header: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Record:
    """Read the header of an explanation, and hold its arrays against it; ValueError or SettingError for what cannot be.

    >>> read_record({"image": "red.png", "method": 3}, {})
    Traceback (most recent call last):
        ...
    ValueError: expected `str`, got `int` - at `$.method`
    """
    record = read_as(Record, header)
    expect_settings(header["settings"])
    masked = "evidence/mask" in arrays
    if "mask" in header["evidence"] or (masked and "area" not in header["evidence"]):
        raise ValueError("a mask that is none")
    names = ("saliency", *(each for each in ("error", "evidence/mask") if each in arrays))
    for name in names:
        expect_map(name, arrays.get(name), record.geometry.size)
    picture = arrays.get("picture")
    if picture is None or picture.ndim != 1 or picture.dtype != torch.uint8:
        raise ValueError("no file as its picture")
    counts = () if record.bands is None else (len(record.bands[where]["drops"]) for where in ("everywhere", "high"))
    if len(set(counts) - {0}) > 1:
        raise ValueError("bands that are others where the map is high")
    return record


def expect_map(name: str, values: Tensor | None, size: tuple[int, int]) -> None:
    """Expect a map of a size; ValueError for anything else.

    >>> expect_map("saliency", torch.zeros(2, 3), (2, 3))
    """
    if values is None or tuple(values.shape) != size or values.dtype not in FLOATS:
        raise ValueError(f"no map of {size[0]}×{size[1]} as its {name.rpartition('/')[2]}")
