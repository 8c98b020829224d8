"""Where an explainer's features come from: the layers of a box, of the explained one or of another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from salience.engine.inside.loop import list_layers, read_activations
from salience.engine.training.network import preserve_random_state
from salience.errors import BoxError
from salience.types import BlackBox, GreyBox, Image, Images

OWN = "box"  # what stands for the explained box itself
FINE = 64  # the largest side of feature maps that are read, unless a quarter of the image is more
MOST = 2 * 10**9  # bytes of features that a training remembers


@dataclass(frozen=True)
class FeatureSource:
    """Where features come from: a box's layers, one a resolution.

    >>> from salience.boxes import toy
    >>> source = FeatureSource.of(toy.load("colour"))
    >>> source.layers, [features.shape for features in source(torch.rand(1, 3, 32, 32))]
    (('act',), [torch.Size([1, 3, 32, 32])])
    """

    box: GreyBox
    layers: tuple[str, ...]

    @classmethod
    def of(cls, box: GreyBox) -> FeatureSource:
        """Choose the layers, the finest first: not those that would only cost (see `FINE`)."""
        images = torch.zeros(1, len(box.mean), *box.size)
        seen = read_activations(box, images, list_layers(box, images))
        most = max(FINE, max(box.size) // 4)
        fine = {name: max(each.shape[-2:]) for name, each in seen.items() if max(each.shape[-2:]) <= most}
        return cls(box, tuple(sorted(fine or {list(seen)[-1]: 1}, key=lambda name: -fine.get(name, 1))))

    def describe_source(self, spec: str) -> dict[str, Any]:
        """Say in plain values how to find it again."""
        return {"spec": spec, "fingerprint": self.box.fingerprint, "layers": list(self.layers)}

    def __call__(self, images: Images) -> list[Tensor]:
        """Read them: one pass an image."""
        shown = images.float()
        if tuple(shown.shape[-2:]) != tuple(self.box.size):
            shown = functional.interpolate(shown, size=self.box.size, mode="bilinear", antialias=True).clamp(0, 1)
        seen = read_activations(self.box, shown, self.layers)
        return [seen[layer].to(images.device) for layer in self.layers]


class CachedFeatures:
    """A source for a training, where the same images come again and again: half of a step would go into features.

    Each image is read by itself, so that its features do not depend on when it is first seen and beside which others.

    >>> from salience.boxes import toy
    >>> cached = CachedFeatures(FeatureSource.of(toy.load("colour")))
    >>> [features.shape for features in cached(["first"], torch.rand(1, 3, 32, 32))]
    [torch.Size([1, 3, 32, 32])]
    """

    def __init__(self, source: FeatureSource, most: int = MOST) -> None:
        self.source, self.room = source, most
        self.kept: dict[Hashable, list[Tensor]] = {}

    def __call__(self, names: Sequence[Hashable], images: Images) -> list[Tensor]:
        """Read images, or look up what was read before under the same names."""
        rows = [self.one(name, image) for name, image in zip(names, images, strict=True)]
        return [torch.cat(each).to(images.device) for each in zip(*rows, strict=True)]

    def one(self, name: Hashable, image: Image) -> list[Tensor]:
        """Read or look up one image; while there is room, remember it."""
        if name in self.kept:
            return self.kept[name]
        with torch.autocast(image.device.type, enabled=False):  # as it will be read when it is to explain
            found = [each.cpu() for each in self.source(image[None])]
        size = sum(each.nbytes for each in found)
        if size <= self.room:
            self.kept[name], self.room = found, self.room - size
        return found


_opened: dict[str, BlackBox] = {}


def register_object(box: BlackBox) -> str:
    """Let explainers of this process find a network that was given as an object; return the spec that stands for it.

    >>> from salience.boxes import toy
    >>> register_object(toy.load("colour"))
    'object:4e6ea4700a089b8b'
    """
    spec = f"object:{box.fingerprint}"
    _opened[spec] = box
    return spec


def open_source(spec: str, make: Callable[[str], BlackBox]) -> BlackBox:
    """Open the network of a spec, once a process.

    >>> from salience.boxes import toy
    >>> open_source("toy:colour", lambda spec: toy.load("colour")).name
    'toy:colour'
    """
    if spec.startswith("object:") and spec not in _opened:
        raise BoxError(
            "expected a features' network that can be opened, got one that was given as an object when the explainer was "
            "fitted: fit with its spec, as in py:FILE.py:NAME"
        )
    if spec not in _opened:
        with preserve_random_state():
            _opened[spec] = make(spec)
    return _opened[spec]
