"""Infidelity. Yeh, Hsieh, Suggala, Inouye and Ravikumar, On the (In)fidelity and Sensitivity …, NeurIPS 2019."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import seeding, validate
from salience.engine.perturb import fill, masks
from salience.engine.query import loop

Products = Float[Tensor, " n"]
LOT = 32  # perturbations that share one address


@dataclass(frozen=True)
class Infidelity:
    """Perturb the image: the sum of the map over what is removed should be the drop of the score.

    infidelity = E[(β Iᵀ S − (f(x) − f(x − I)))²],    β = E[Iᵀ S (f(x) − f(x − I))] / E[(Iᵀ S)²]

    "square-removal" shows the mean colour x̄ in one square, whose side is 1 pixel to a quarter of the image's and whose
    place is anywhere inside, all equally likely; Iᵀ S is the sum of the map over the square, as maps here are
    attributions, not gradients. "gaussian" is the paper's noisy baseline: I = x − (x̄ + ε), ε ~ N(0, 0.2²) for every
    pixel and channel, and Iᵀ S counts a pixel's value once a channel. Both take 200 perturbations. β is the factor
    that fits best, so the scale of the map does not matter; `scaled=false` takes the map as it is, β = 1.

    Range 0 and up; 0 is best. Cost: 201 passes.

    Departs from the paper: it leaves number and size of the squares to the experiment. What x̄ + ε has beyond 0…1 stays.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Infidelity(samples=50)(case).value, 2)
    0.0
    """

    protocol: Annotated[Literal["square-removal", "gaussian"], Doc("how the image is perturbed")] = "square-removal"
    samples: Annotated[int, Doc("perturbations")] = 200
    scaled: Annotated[bool, Doc("whether the map is multiplied by the factor that fits best")] = True
    seed: Annotated[int, Doc("of the perturbations")] = 0
    better: ClassVar[Better] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        validate.expect_between("samples", self.samples, 1, None)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        image_score = loop.score_image(case.box, case.image, case.target)
        steps = self._remove_squares if self.protocol == "square-removal" else self._add_noise
        products, scores = (torch.cat(each) for each in zip(*steps(case), strict=True))
        drops = image_score - scores
        size = float(products @ products)
        factor = (float(products @ drops) / size if size > 0 else 0.0) if self.scaled else 1.0
        value = float((factor * products - drops).square().mean())
        return MeasureResult(value, {"map": products.tolist(), "score": drops.tolist(), "factor": factor})

    def _remove_squares(self, case: Case) -> Iterator[tuple[Products, Products]]:
        saliency = case.saliency.double().cpu().flatten()
        lots = [sample_squares(case.box.size, self.samples, self.seed)]
        baseline = fill.make_fill("mean", case.box, case.image)
        for _, kept, scores in loop.score_masked(case.box, case.image, case.target, lots, baseline):
            yield (1 - kept.cpu().double()).flatten(1) @ saliency, scores.cpu().double()

    def _add_noise(self, case: Case) -> Iterator[tuple[Products, Products]]:
        mean = fill.make_fill("mean", case.box, case.image)
        for begin in range(0, self.samples, LOT):
            generator = seeding.generator(self.seed, "infidelity", "gaussian", begin // LOT)
            shape = (min(LOT, self.samples - begin), *case.image.shape)
            noisy = mean + 0.2 * torch.randn(shape, generator=generator).to(case.image)
            removed = (case.image - noisy).sum(1).cpu().double()
            scores = loop.score_images(case.box, noisy, case.target).cpu().double()
            yield torch.einsum("nhw,hw->n", removed, case.saliency.cpu().double()), scores


def sample_squares(size: tuple[int, int], samples: int, seed: int) -> masks.Windows:
    """Sample squares of all sides from 1 to a quarter of the image's, anywhere inside it."""
    height, width = size
    uniform = torch.rand(samples, 3, generator=seeding.generator(seed, "infidelity", "squares"), dtype=torch.float64)
    side = 1 + (uniform[:, 0] * max(1, min(size) // 4)).long()
    top, left = ((uniform[:, axis] * (length - side + 1)).long() for axis, length in ((1, height), (2, width)))
    return masks.Windows(torch.stack([top, top + side, left, left + side], dim=1), size)
