"""Recipro-CAM. Byun and Lee, Recipro-CAM: Fast gradient-free visual explanations for CNNs, 2022."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Literal

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional
from typing_extensions import Doc

from salience.engine.inside import cams
from salience.engine.inside.loop import choose_layer, iterate_images, read_activations, score_replaced
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import BatchedMethod, Estimate
from salience.types import Features, GreyBox, Images, Masks, Target

GAUSSIAN = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
FEWEST = 4  # places; fewer make no map


@dataclass(frozen=True)
class ReciproCam(BatchedMethod):
    """Keep the features of one place at a time; the place matters as much as they score. No gradients.

    saliency[u] = score(A(u) ⊗ G_u),   G_u = a 3×3 Gaussian around u, or u alone

    A(u) are the features at u and zero are those of all other places; the score is the class's probability. Cost: one
    pass, and one a place through what comes after the layer; several targets of one image share all passes. A budget
    that does not suffice for all places makes do with about every second, third, … of a row and of a column.

    Departs from the paper: the scores are not stretched to 0…1, and a Gaussian that reaches over the border is brought
    back to a sum of one. In the authors' code a corner keeps 9/16, which dims the border: half of the places of 7×7.

    >>> from salience.boxes import toy
    >>> saliency = ReciproCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Annotated[str | None, Doc("the layer whose places are scored; none given: the end of the last block")] = None
    spread: Annotated[Literal["gaussian", "point"], Doc("gaussian (3×3 around the place) or point (the place alone)")] = (
        "gaussian"
    )

    def __post_init__(self) -> None:
        if self.spread not in ("gaussian", "point"):
            raise SettingError(f"expected spread gaussian or point, got {self.spread!r}")

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        layer = choose_layer(box, images, self.layer)
        return [
            each
            for one, its_targets in iterate_images(box, images, targets)
            for each in self.explain(box, one, its_targets, layer)
        ]

    def explain(self, box: GreyBox, image: Images, targets: Sequence[Target], layer: str) -> list[Estimate]:
        """Score the features of each place alone."""
        maps = read_activations(box, image, [layer])[layer]
        rows, columns = maps.shape[2:]
        allowed = plan_passes(rows * columns, default=0, least=min(FEWEST, rows * columns), what=f"the places of {layer}")
        down, right = space_evenly(rows, columns, allowed)
        places = (down[:, None] * columns + right).flatten().to(maps.device)

        def isolate(part: slice) -> Features:
            return torch.einsum("cn,nyx->ncyx", maps[0].flatten(1)[:, places[part]], self.make_masks(places[part], maps))

        scores = score_replaced(box, image, targets, layer, isolate, len(places)).reshape(-1, len(down), len(right)).float()
        evidence = {"layers": (layer,), "places": len(places)}
        notes = cams.describe_layer(box, self.layer, blank=False)
        return [Estimate(each, evidence=evidence, notes=notes) for each in cams.enlarge(scores, image)]

    def make_masks(self, places: Int[Tensor, " n"], maps: Features) -> Masks:
        """Make the mask that is multiplied with the features of each place."""
        rows, columns = maps.shape[2:]
        single: Tensor = functional.one_hot(places, rows * columns).to(maps).unflatten(1, (rows, columns))
        if self.spread == "point":
            return single
        spread = functional.conv2d(single[:, None], maps.new_tensor(GAUSSIAN)[None, None], padding=1)[:, 0]
        return spread / spread.sum((1, 2), keepdim=True)


def space_evenly(rows: int, columns: int, most: int) -> tuple[Int[Tensor, " y"], Int[Tensor, " x"]]:
    """Choose rows and columns that are evenly spaced and cross at `most` places or fewer: all of them where they may."""
    step = next(step for step in count(1) if math.ceil(rows / step) * math.ceil(columns / step) <= most)
    chosen = ((side, math.ceil(side / step)) for side in (rows, columns))
    down, right = (torch.tensor([(2 * k + 1) * side // (2 * steps) for k in range(steps)]) for side, steps in chosen)
    return down, right
