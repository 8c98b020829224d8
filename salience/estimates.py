"""What a method is, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from salience.types import Image, Images, Map, Target

Precision = Literal["float32"]
"""What passes must be computed in; a backend that is finer will do."""


@dataclass(frozen=True)
class Estimate:
    """What a method has found so far. Samplers yield one after every lot of masks; the last one is the answer.

    >>> import torch
    >>> Estimate(torch.zeros(2, 2), notes=("few passes",)).error is None
    True
    """

    saliency: Map
    error: Map | None = None  # standard error of each pixel, where the method has one
    stability: float | None = None  # rank agreement of the maps made from either half of the passes
    evidence: Mapping[str, Any] = field(default_factory=dict)  # tensors and plain values worth keeping
    notes: tuple[str, ...] = ()  # what a reader of the map must know, in words
    passes: int | None = None  # what it took, where a batch was explained and its images took unlike shares


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass whose fields are its settings. The annotation of `box` is what it needs."""

    def __call__(self, box: Any, image: Image, target: Target) -> Map:
        """Explain one image."""
        ...


@runtime_checkable
class Sampler(Method, Protocol):
    """A method that can be watched: it yields what it has found so far, and may be stopped after any of them."""

    def watch(self, box: Any, image: Image, target: Target) -> Iterator[Estimate]:
        """Explain one image, step by step."""
        ...


@runtime_checkable
class PreciseMethod(Method, Protocol):
    """A method that amplifies rounding: where `auto` chooses the backend, it chooses for it among those this precise."""

    precision: ClassVar[Precision]


class BatchedMethod(ABC):
    """A method that explains many images at the batched speed of the network, or several targets of one image."""

    @abstractmethod
    def many(self, box: Any, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""

    def __call__(self, box: Any, image: Image, target: Target) -> Map:
        """Explain one image."""
        return self.many(box, image[None], [target])[0].saliency
