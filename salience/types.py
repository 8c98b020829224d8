"""The nouns. A black box is a function from a batch of images to class scores; everything else is a function of a box.

Conventions, used everywhere and explained only here:

- An *image* is `(3 h w)` float32 RGB in 0…1 at the box's input size. A box applies its own normalisation.
- A *mask* is `(h w)` in 0…1; its 1 keeps the pixel and its 0 shows the fill instead.
- A *map* (saliency) is `(h w)`, raw; higher is more important. Only `draw` normalises.
- A *score* is what the target reads off a row of probabilities; by default the probability of one class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Image = Float[Tensor, "3 h w"]
Images = Float[Tensor, "n 3 h w"]
Masks = Float[Tensor, "n h w"]
Features = Float[Tensor, "m c y x"]
Map = Float[Tensor, "h w"]
Region = Bool[Tensor, "h w"]
Scores = Float[Tensor, " n"]
Probabilities = Float[Tensor, "n k"]

Target = int | tuple[int, int] | Callable[[Probabilities], Scores]
"""What is explained: a class index, a pair (a, b) for the contrast a − b, or a function of the probabilities."""


@runtime_checkable
class BlackBox(Protocol):
    """Gives probabilities, nothing else.

    One that computes beside Python, in threads of its own or on a device, may say `apart = True` and have `begin(images)`,
    which returns what waits for the scores: then the next batch is made meanwhile. One that blends images by itself may have
    `through(ahead, behind)`, which returns the like of `begin` for masks, or None. That is given `paint` too where an image
    is added instead of `behind`: of the scale and the shift that normalise (3 1 1), it makes one a mask (n 3 h w). One whose
    weights may change can have `renew()`, which is called before a loop of batches.
    """

    name: str
    classes: Sequence[str]  # the name of each class, in the order of the scores
    size: tuple[int, int]  # height and width of the images that it takes
    mean: tuple[float, float, float]  # the mean colour of its data, 0…1: what masked-out pixels show by default
    device: torch.device
    backend: str  # how the passes run: "exact", or the name of a faster way that agreed with it

    @property
    def fingerprint(self) -> str:
        """The same for two boxes only if they answer alike."""
        ...

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch of images."""
        ...


IMAGE = "image"
"""The layer that is the image itself."""

Scale = Literal["logit", "log-probability", "probability"]
"""What a gradient is taken of: the score before the last activation, or what it becomes."""


@dataclass(frozen=True)
class LayerInfo:
    """Where to look inside a box."""

    blocks: tuple[str, ...]  # the end of each block, from the input to the output
    top: str  # the last feature maps: what is pooled to give the answer
    note: str = ""  # what a reader of a map must know of them


@dataclass(frozen=True)
class ActivationsAndGradients:
    """What went on inside a box while it scored images: one forward pass and one backward pass."""

    targets: tuple[Target, ...]  # what each score is of
    scores: Float[Tensor, " m"]  # the targets', in the scale asked for
    logits: Float[Tensor, "n k"]
    activations: Mapping[str, Float[Tensor, "n _ _ _"]]  # by layer
    gradients: Mapping[str, Float[Tensor, "m _ _ _"]]  # d score / d activation, one a target


@runtime_checkable
class GreyBox(BlackBox, Protocol):
    """Also lets its inner activations be read."""

    def layers(self) -> tuple[str, ...]:
        """Name the layers worth looking at, from the input to the output: the end of each block."""
        ...

    def layer_info(self) -> LayerInfo:
        """Tell the same layers, the last feature maps, and what a reader of a map must know of them."""
        ...

    def activations(self, images: Images, layers: Sequence[str]) -> dict[str, Float[Tensor, "n c y x"]]:
        """Return the activations of the named layers as feature maps."""
        ...

    def forward_from(self, image: Float[Tensor, "1 3 h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once."""
        ...

    def with_logits(self) -> GreyBox:
        """Give the same box without its last activation: it answers with logits."""
        ...


@runtime_checkable
class OpenBox(GreyBox, Protocol):
    """Also gives logits and gradients."""

    def logits(self, images: Images) -> Probabilities:
        """Score before the last activation; gradients flow back to `images`."""
        ...

    def with_logits(self) -> OpenBox:
        """Give the same box without its last activation, still open."""
        ...

    def differentiate(
        self, images: Images, targets: Sequence[Target] | None, layers: Sequence[str], of: Scale = "logit"
    ) -> ActivationsAndGradients:
        """Score images, one target each (None: the likeliest class), or several of one image, and differentiate."""
        ...


@dataclass(frozen=True)
class Estimate:
    """What a method has found so far. Samplers yield one after every lot of masks; the last one is the answer."""

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
class BatchedMethodProtocol(Method, Protocol):
    """A method that explains many images at the batched speed of the network, or several targets of one image."""

    def many(self, box: Any, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        ...
