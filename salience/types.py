"""The nouns. A black box is a function from a batch of images to class scores; everything else is a function of a box.

Conventions, used everywhere and explained only here:

- An *image* is `(c h w)` float32 in 0…1 at the box's input size, mostly RGB. A box applies its own normalisation.
- A *mask* is `(h w)` in 0…1; its 1 keeps the pixel and its 0 shows the fill instead.
- A *map* (saliency) is `(h w)`, raw; higher is more important. Only `draw` normalises.
- A *score* is what the target reads off a row of probabilities; by default the probability of one class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from salience.picture import Geometry, Preparation

Image = Float[Tensor, "c h w"]
Images = Float[Tensor, "n c h w"]
Masks = Float[Tensor, "n h w"]
Features = Float[Tensor, "m f y x"]
Map = Float[Tensor, "h w"]
Region = Bool[Tensor, "h w"]
Scores = Float[Tensor, " n"]
Probabilities = Float[Tensor, "n k"]

Target = int | tuple[int, int] | Callable[[Probabilities], Scores]
"""What is explained: a class index, a pair (a, b) for the contrast a − b, or a function of the probabilities."""


Head = Literal[
    "softmax", "sigmoid", "binary", "probabilities", "label-probabilities", "probability", "none", "number", "ordinal"
]
"""What a network puts out: logits of classes, of independent labels, one logit; or the probabilities of these; or scores
that are used as they are; or numbers, or the logits of being above each grade: why so high, and why so low?"""


@dataclass(frozen=True)
class Finding:
    """One thing that was found when a box was met.

    >>> Finding("head", "softmax", "softmax: logits of 10 classes").about
    'head'
    """

    about: str  # the option that overrides it
    value: Any
    said: str  # in words, for whoever reads the map


PendingScores = Callable[[], Probabilities]
"""Waits for the scores of a batch that was submitted, and returns them."""


class BlackBox(ABC):
    """A classifier: called with images, it returns a row of scores for each. What else it can do, further classes say."""

    name: str
    classes: Sequence[str]  # the name of each class, in the order of the scores
    size: tuple[int, int]  # height and width of the images that it takes
    channels: int = 3  # that its network takes; of a photograph one that takes 1 sees the grey
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)  # the mean colour of its data, 0…1: what masked-out pixels show
    batch: int | None = None  # the most images that it takes at once; None: any number
    findings: tuple[Finding, ...] = ()  # what was found when it was met
    met: bool = True  # whether that is known; one that is not is met when it is loaded, or before the first question
    backend: str = "exact"  # how the passes run: "exact", or the name of a faster way that agreed with it
    preparation: Preparation | None = None  # what is done to a photograph first; None: it is resized to `size`
    numbers: bool = False  # whether the scores are no probabilities even where they lie in 0…1
    question: Mapping[str, Any] | None = None  # what is asked of one picture, in plain values, where that is no class

    @property
    def device(self) -> torch.device:
        """Where images are scored."""
        return torch.device("cpu")

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The same for two boxes only if they answer alike."""

    @abstractmethod
    def __call__(self, images: Images) -> Probabilities:
        """Score a batch of images."""

    def meet(self) -> None:  # noqa: B027  # most are what their authors say
        """Find out what it takes and puts out, once: when it is loaded, or before the first question."""


class QuestionBox(BlackBox):
    """A model of places: asked about a picture it becomes a box of its places; by itself it scores classes in whole ones.

    >>> from salience import load
    >>> segmenter = load(nn.Conv2d(3, 4, 1), size=32)
    >>> isinstance(segmenter, QuestionBox), len(segmenter.classes)
    (True, 4)
    """

    @abstractmethod
    def ask(self, image: Image, geometry: Geometry, wanted: Any) -> tuple[BlackBox, Target]:
        """Give the box of a picture's places and the target among them; TargetError for what is not there."""

    @abstractmethod
    def list_places(self, image: Image, geometry: Geometry) -> tuple[str, ...]:
        """Name what there is to ask about in a picture, the surest first."""


class AsyncBox(BlackBox):
    """A box whose answers come later: several batches are submitted, and waited for in order.

    >>> from salience.boxes import toy
    >>> pending = toy.load("colour").submit(toy.picture()[None])
    >>> pending().argmax(1)
    tensor([0])
    """

    @property
    def in_flight(self) -> int:
        """How many batches to have under way at once; 1 if it answers synchronously."""
        return 2

    @abstractmethod
    def submit(self, images: Images) -> PendingScores:
        """Submit a batch; until what is returned has been waited for, `images` must stay as they are."""

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch and wait for it."""
        return self.submit(images)()


class BlendingBox(AsyncBox):
    """A box that blends an image and a baseline by masks itself: it is handed the masks alone.

    >>> from salience.boxes import toy
    >>> isinstance(toy.load("colour"), BlendingBox)
    True
    """

    @abstractmethod
    def submit_blended(self, image: Image, baseline: Image) -> Callable[..., PendingScores] | None:
        """Return what submits masks (n h w), each standing for baseline + mask · (image − baseline); None: blend outside.

        It also takes `paint=`, where something is added in place of the baseline: given the scale and the shift (3 1 1)
        that normalise images, it makes what is added, normalised (n 3 h w).
        """


class BackendBox(BlackBox):
    """A box with faster backends: one is chosen for it, and left when its weights change.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour", backend="exact")
    >>> box.backend, box.backend_chosen
    ('exact', True)
    """

    backend_chosen: bool  # whether there is nothing left to choose
    automatic: bool = True  # whether its backend may be chosen: nobody named one, and its weights are in float32
    precision: str | None = None  # "float32": its passes must be so precise; None: as long as scores agree with exact
    check: Mapping[str, Any]  # what choosing found

    @abstractmethod
    def choose_backend(self, images: Images, *, anew: bool = False) -> None:
        """Choose the fastest backend that agrees with exact on `images`, once; `anew`, whatever was chosen before."""

    def check_weights(self) -> None:  # most have weights that stay
        """Leave a backend that was compiled of weights that are others now; called before a run of batches."""


IMAGE = "image"
"""The layer that is the image itself."""

Scale = Literal["logit", "log-probability", "probability"]
"""What a gradient is taken of: the score before the last activation, or what it becomes."""


@dataclass(frozen=True)
class LayerInfo:
    """The layers of a box that are worth explaining.

    >>> from salience.boxes import toy
    >>> toy.load("colour").layer_info()
    LayerInfo(blocks=('act',), top='act', note='')
    """

    blocks: tuple[str, ...]  # the end of each block, from the input to the output
    top: str  # the last feature maps: what is pooled to give the answer
    note: str = ""  # what a reader of a map must know of them

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> LayerInfo:
        """Make it of plain values."""
        return cls(tuple(map(str, plain["blocks"])), str(plain["top"]), str(plain["note"]))


@dataclass(frozen=True)
class ActivationsAndGradients:
    """The activations and gradients of a box while it scored images: one forward pass and one backward pass.

    >>> from salience.boxes import toy
    >>> inner = toy.load("colour").differentiate(toy.picture()[None], [0], ["act"])
    >>> inner.activations["act"].shape
    torch.Size([1, 3, 32, 32])
    """

    targets: tuple[Target, ...]  # what each score is of
    scores: Float[Tensor, " m"]  # the targets', in the requested scale
    logits: Float[Tensor, "n k"]
    activations: Mapping[str, Float[Tensor, "n _ _ _"]]  # by layer
    gradients: Mapping[str, Float[Tensor, "m _ _ _"]]  # d score / d activation, one a target


class GreyBox(BlackBox):
    """A box whose inner activations can be read and replaced.

    >>> from salience.boxes import toy
    >>> toy.load("colour").activations(toy.picture()[None], ["act"])["act"].shape
    torch.Size([1, 3, 32, 32])
    """

    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Name the layers worth explaining, from the input to the output: the end of each block."""

    @abstractmethod
    def layer_info(self) -> LayerInfo:
        """Return the same layers, the last feature maps, and what a reader of a map must know of them."""

    @abstractmethod
    def activations(self, images: Images, layers: Sequence[str]) -> dict[str, Float[Tensor, "n f y x"]]:
        """Return the activations of the named layers as feature maps."""

    @abstractmethod
    def forward_from(self, image: Float[Tensor, "1 c h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once."""

    @abstractmethod
    def with_logits(self) -> GreyBox:
        """Give the same box without its last activation: it answers with logits."""


class OpenBox(GreyBox):
    """A box that also gives logits and gradients.

    >>> from salience.boxes import toy
    >>> toy.load("colour").logits(toy.picture()[None]).argmax(1)
    tensor([0])
    """

    @abstractmethod
    def logits(self, images: Images) -> Probabilities:
        """Score before the last activation; gradients flow back to `images`."""

    @abstractmethod
    def with_logits(self) -> OpenBox:
        """Give the same box without its last activation, still open."""

    @abstractmethod
    def differentiate(
        self, images: Images, targets: Sequence[Target] | None, layers: Sequence[str], of: Scale = "logit"
    ) -> ActivationsAndGradients:
        """Score images, one target each (None: the likeliest class), or several of one image, and differentiate."""


class TrainableBox(BlackBox):
    """A box whose weights can be trained, or set to random ones.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour")
    >>> box.list_weighted(), box.reinitialise(["detect"]).name
    (('detect',), 'toy:colour, redrawn')
    """

    module: nn.Module
    head: Head  # what the module puts out

    @abstractmethod
    def as_trainable(self, only: Sequence[str] = ()) -> nn.Module:
        """Give the network as a module from images in 0…1 to logits: all of it to be trained, or parts by their names."""

    @abstractmethod
    def list_weighted(self) -> tuple[str, ...]:
        """Name the modules that hold weights, in the order in which an image meets them."""

    @abstractmethod
    def reinitialise(self, names: Sequence[str], seed: int = 0) -> TrainableBox:
        """Give a box with new random weights in the named modules; this one stays as it is."""
