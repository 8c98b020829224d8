"""ROAD. Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import seeding, target, validate
from salience.engine.query import loop
from salience.measures import _curves, _impute
from salience.types import BlackBox, Image, Images, Map, Probabilities, Scores

Order = Literal["morf", "lerf"]
ORDERS: Mapping[str, tuple[Order, ...]] = {
    "morf-2022": ("morf",),
    "lerf-2022": ("lerf",),
    "combined-2022": ("morf", "lerf"),
    "ptame-morf": ("morf",),
    "ptame-lerf": ("lerf",),
}


@dataclass(frozen=True)
class Road:
    """Remove pixels without an artefact at the hole's edge, and see whether the class stays the likeliest.

    filled_d = image, the share d of its pixels removed: each the weighted mean of its eight neighbours (1/6 at an edge,
    1/12 at a corner), plus noise of σ = 0.01 in the box's normalised space (in 0…1 for a box without a std)

    "morf-2022" removes the most relevant first: mean over d = 0.1, 0.2 … 0.9 of [argmax f(filled_d) = target], which
    over pictures is the mean accuracy; lower is better. "lerf-2022" removes the least relevant first; higher is better.
    "combined-2022" is [mean score by LeRF − mean score by MoRF] / 2 over the same levels, of the target's score as
    pytorch-grad-cam has it; higher is better. "ptame-morf" (lower) and "ptame-lerf" (higher) are P-TAME's: agreement
    at d = 0.1, 0.3, 0.5 and 0.7, all pixels as high as the last one removed with it, and the area under the curve that
    begins at (0, 1) and ends at (1, 0).

    Range 0 to 1; −0.5 to 0.5 for "combined-2022"; 0.05 to 0.85 for P-TAME's. Not defined (NaN) by agreement where the
    target is no class. Cost: 9 passes, 18 and 4. The evidence holds the curves of agreement and of the score.

    Departs: P-TAME's paper fills by Telea's inpainting, which OpenCV has and this library does not need; here its
    variants fill as ROAD does. Where no pixel is left the box's mean colour stands.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Road()(case).value, 2)
    0.44
    """

    protocol: Annotated[Literal["morf-2022", "lerf-2022", "combined-2022", "ptame-morf", "ptame-lerf"], Doc("see above")] = (
        "morf-2022"
    )
    noise: Annotated[float | None, Doc("σ in normalised space; None: 0.01")] = None
    seed: Annotated[int, Doc("of the noise")] = 0
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        validate.expect_between("noise", self.noise, 0, None)

    @property
    def better(self) -> Better:
        """Removing what matters should hurt, removing what does not should not."""
        return "lower" if self.protocol in ("morf-2022", "ptame-morf") else "higher"

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        combined, ptame = self.protocol == "combined-2022", self.protocol.startswith("ptame")
        if not bool(torch.isfinite(case.saliency).all()) or not (combined or isinstance(case.target, int)):
            return MeasureResult(float("nan"))
        levels = (0.1, 0.3, 0.5, 0.7) if ptame else tuple(number / 10 for number in range(1, 10))
        curves: dict[str, list[float]] = {}
        for order in ORDERS[self.protocol]:
            removed = torch.stack([mark_removed(case.saliency, level, order, ties=ptame) for level in levels])
            scores, agreed = score_and_compare(case, self.fill_removed(case, removed, order))
            curves |= {f"{order} score": scores, f"{order} agreement": agreed}
        evidence = {name: {"x": list(levels), "y": values} for name, values in curves.items() if values}
        if combined:
            return MeasureResult((fmean(curves["lerf score"]) - fmean(curves["morf score"])) / 2, evidence)
        if ptame:
            x, y = torch.tensor([[0, *levels, 1], [1, *agreed, 0]], dtype=torch.float64)
            return MeasureResult(float(torch.trapezoid(y, x)), evidence)
        return MeasureResult(fmean(agreed), evidence)

    def fill_removed(self, case: Case, removed: Bool[Tensor, "n h w"], order: Order) -> Images:
        """Impute, and add noise where something was removed."""
        images = _impute.impute_linear(case.image, removed, case.box.mean)
        sigma = 0.01 if self.noise is None else self.noise
        noise = torch.randn(images.shape, generator=seeding.generator(self.seed, "road", order)).to(images)
        return images + sigma * find_deviation(case.box, case.image) * noise * removed[:, None].to(images)


def mark_removed(saliency: Map, level: float, order: Order, *, ties: bool) -> Bool[Tensor, "h w"]:
    """Mark the share of pixels to remove; with `ties`, also those that equal the last one."""
    signed = saliency if order == "morf" else -saliency
    ranks = _curves.rank(signed)
    count = round(level * saliency.numel())
    if not ties:
        return ranks < count
    return signed >= signed[ranks == max(1, int(level * saliency.numel())) - 1]


def score_and_compare(case: Case, images: Images) -> tuple[list[float], list[float]]:
    """Score each image once: the target's score, and 1 where the target, if it is a class, is the likeliest."""
    likeliest: list[int] = []

    def record(probabilities: Probabilities) -> Scores:
        likeliest.extend(probabilities.argmax(1).tolist())
        return target.pick(case.target, probabilities)

    scores: list[float] = loop.score_images(case.box, images, record).tolist()
    return scores, [float(each == case.target) for each in likeliest if isinstance(case.target, int)]


def find_deviation(box: BlackBox, image: Image) -> Float[Tensor, "c 1 1"]:
    """Return the standard deviation of each channel that a box divides by, 1 where it has none."""
    return image.new_tensor(box.preparation.std if box.preparation else [1.0] * len(image))[:, None, None]
