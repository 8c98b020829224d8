"""Maps that read no box: what every method has to beat.

A measure that a control wins says nothing; a method that does not beat them explains nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from salience.engine import seeding
from salience.types import BlackBox, Image, Map, Target


@dataclass(frozen=True)
class RandomOrder:
    """Pixels in an order drawn by chance, another for each picture.

    >>> import torch
    >>> from salience.boxes import toy
    >>> RandomOrder(seed=1)(toy.load("colour"), torch.rand(3, 32, 32), 0).shape
    torch.Size([32, 32])
    """

    seed: int = 0

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:  # noqa: ARG002  # it looks at nothing
        """Draw a map."""
        content = hashlib.sha256(image.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        return torch.rand(image.shape[-2:], generator=seeding.generator(self.seed, "random order", content))


@dataclass(frozen=True)
class CentreGaussian:
    """A hill in the middle, a quarter of the side wide: photographers put the object there.

    >>> from salience.boxes import toy
    >>> saliency = CentreGaussian()(toy.load("colour"), torch.rand(3, 33, 33), 0)
    >>> bool(saliency[16, 16] == saliency.max())
    True
    """

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:  # noqa: ARG002  # it looks at nothing
        """Draw the hill."""
        rows, columns = (((torch.arange(side) + 0.5) / side - 0.5) / 0.25 for side in image.shape[-2:])
        return torch.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / 2)


@dataclass(frozen=True)
class EdgeDetector:
    """How steep the picture itself is (Sobel), which maps of pixels are easily mistaken for (Adebayo et al. 2018).

    >>> from salience.boxes import toy
    >>> float(EdgeDetector()(toy.load("colour"), torch.ones(3, 32, 32), 0)[16, 16])
    0.0
    """

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:  # noqa: ARG002  # it looks at the picture alone
        """Find edges."""
        grey = image.detach().float().cpu().mean(0)[None, None]
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        kernels = torch.stack([across, across.T])[:, None]
        steep: Map = functional.conv2d(functional.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)[0].norm(dim=0)
        return steep


CONTROLS: dict[str, type[Any]] = {
    "random-order": RandomOrder,
    "centre-gaussian": CentreGaussian,
    "edge-detector": EdgeDetector,
}
