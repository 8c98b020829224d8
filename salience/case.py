"""The nouns of measuring: a sample of a data set, a case (one explained picture), a measure, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from salience.errors import SettingError
from salience.types import BlackBox, Image, Map, Region, Target

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """A labelled picture of a data set.

    >>> Sample("0001", "cat.jpg", labels=("tabby",), boxes=((10, 10, 50, 40),)).labels
    ('tabby',)
    """

    id: str  # unique in its data set and always the same
    picture: Any  # what `picture.read` takes: a path, bytes, an array
    labels: tuple[str | int, ...] = ()  # right answers: class names, or indices of the box's classes
    boxes: tuple[
        tuple[float, float, float, float], ...
    ] = ()  # the object's left, top, right, bottom, in pixels of the picture
    mask: Any = None  # where the object is to the pixel: what `picture.read` takes, white on black; wins over `boxes`


@dataclass(frozen=True)
class Data:
    """A data set: samples by number, opened only when they are asked for.

    >>> data = Data("two", [Sample("a", "a.jpg"), Sample("b", "b.jpg")])
    >>> len(data), data[1].id
    (2, 'b')
    """

    name: str
    samples: Sequence[Any]  # of samples; whoever checks types must not open one

    def __len__(self) -> int:
        """Count them."""
        return len(self.samples)

    def __getitem__(self, number: int) -> Sample:
        """Return one."""
        sample: Sample = self.samples[number]
        return sample


Explain = Callable[[BlackBox, Image, Target, int | None], Map]
"""A method with its settings and budget, to be asked again, for another box, image or target; None: its own seed."""


@dataclass(frozen=True)
class Cost:
    """What an explanation cost.

    >>> Cost(passes=4000, seconds=9.5)
    Cost(passes=4000, seconds=9.5, memory=None)
    """

    passes: int
    seconds: float
    memory: int | None = None  # bytes at the peak above what was there before; None where nobody looked


@dataclass(frozen=True)
class Case:
    """One explained picture: all that a measure may look at.

    >>> import torch
    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), torch.rand(3, 32, 32), 0, torch.rand(32, 32))
    >>> case.truth is None
    True
    """

    box: BlackBox
    image: Image
    target: Target
    saliency: Map
    truth: Region | None = None  # where the object is
    explain: Explain | None = None  # the method, for measures that ask it again
    spent: Cost | None = None

    @property
    def place(self) -> Region:
        """Return the truth, for a measure that needs it."""
        return _expect_given(self.truth)

    @property
    def again(self) -> Explain:
        """Return the method, for a measure that needs it."""
        return _expect_given(self.explain)


def _expect_given(value: T | None) -> T:
    if value is None:
        raise SettingError("expected a case with all that the measure needs, got one without: see `measuring.lacking`")
    return value


Better = Literal["higher", "lower", "neither"]
Need = Literal["truth", "method", "gradients", "spent"]
"""What a measure asks for beyond box, image, target and map; "gradients" is an `OpenBox`."""


@dataclass(frozen=True)
class MeasureResult:
    """A number, and what it was read off: curves as lists of numbers, maps as tensors.

    >>> MeasureResult(0.25).value
    0.25
    """

    value: float  # NaN where the measure is not defined for the case
    evidence: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Measure(Protocol):
    """A frozen dataclass whose first field is its protocol, a name that fixes every detail; further fields override one."""

    protocol: Any

    @property
    def better(self) -> Better:
        """Say which direction is better."""
        ...

    @property
    def needs(self) -> tuple[Need, ...]:
        """Say what it asks of a case."""
        ...

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        ...
