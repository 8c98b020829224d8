"""Extremal perturbation. Fong, Patrick and Vedaldi, Understanding Deep Networks via Extremal Perturbations, ICCV 2019."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import Doc

from salience.engine import validate
from salience.engine.inside.loop import MOST, expect_targets
from salience.engine.perturb import fill
from salience.engine.query.ask import expect_finite, guard
from salience.engine.query.batches import Batches
from salience.engine.query.run import Run, current, plan_passes
from salience.engine.target import pick
from salience.errors import SettingError
from salience.estimates import BatchedMethod, Estimate
from salience.types import Image, Images, Masks, OpenBox, Target

FEWEST = 20  # steps below which no mask converges
LEVELS = 8  # of the blur
PAPER = 800  # steps for which the next two lines are meant
RATE, MOMENTUM = 0.01, 0.9  # the gradient counts for 1 − MOMENTUM (dampening)
WEIGHT, GROWTH = 300.0, 1.0035**PAPER  # of the area's term, at first and by how much more at the end
COLD = 20.0  # of the smooth maximum
TIE = 1e-5  # mask values that differ by less share their rank


@dataclass(frozen=True)
class ExtremalPerturbation(BatchedMethod):
    """Find the smooth mask of a given area that keeps the class's logit highest; outside, the picture is blurred.

    m_a = argmax over masks m of logit(picture blurred where m is low) − λ mean (sorted m − step at area a)²
    saliency = Σ_a m_a, smoothed by a Gaussian of 0.09 of the short side

    m is a smooth maximum, over the cells of a grid, of the cell's parameter times a bell around it. The parameters
    begin at 1 and go up the gradient, while λ grows. Cost: `steps` forward and backward passes an area.

    Departs from the paper: the smooth maximum is taken at the centres of the cells and enlarged bilinearly; the area is
    that of the picture, without a margin; equal values share their rank; fewer steps are longer, yet none goes beyond a
    tenth of what the area asks, and λ grows faster.

    >>> from salience.boxes import toy
    >>> method = ExtremalPerturbation(areas=(0.1,), steps=24, cell=4, sigma=3.0, blur=0.0)
    >>> saliency = method(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    areas: Annotated[tuple[float, ...], Doc("shares of the picture that are kept, a mask each")] = (0.025, 0.05, 0.1, 0.2)
    steps: Annotated[int, Doc("steps up the gradient")] = 800
    cell: Annotated[int, Doc("side of the grid's cells, in pixels")] = 7
    sigma: Annotated[float, Doc("width of the bell around a cell, in pixels")] = 21.0
    blur: Annotated[float, Doc("sigma of the strongest blur, in pixels; 0 fades to the mean colour instead")] = 20.0
    flip: Annotated[bool, Doc("mirror the picture in every second step")] = True

    def __post_init__(self) -> None:
        if not self.areas:
            raise SettingError("expected at least one area, got none: a share of the picture, as in 0.1")
        for area in self.areas:
            validate.expect_between("area", area, 0, 1, open_ends=True)
        for name, least in (("steps", 1), ("cell", 1), ("sigma", 0.1), ("blur", 0)):
            validate.expect_between(name, getattr(self, name), least, None)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target, all together; one image may have several targets."""
        *_, estimates = self._optimise(box, images, targets)
        return estimates

    def watch(self, box: OpenBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the masks every few steps."""
        for estimates in self._optimise(box, image[None], [target]):
            yield estimates[0]

    def _optimise(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> Iterator[list[Estimate]]:
        expect_targets(box, images, targets)
        masks, least = len(targets) * len(self.areas), min(FEWEST, self.steps)
        what = f"{least} steps of extremal perturbation with {masks} masks"
        steps = plan_passes(masks * self.steps, default=0, least=masks * least, what=what) // masks
        run, optimisation = current.get() or Run(), _Optimisation(self, box, images, targets)
        for step in range(steps):
            if run.room(masks, masks * step, masks * least) < masks:
                steps = step
                break
            elapsed = (time.monotonic() - run.started) / (run.budget.seconds or math.inf)
            progress = max(step / steps, min(1.0, elapsed))
            optimisation.step(step, step / progress if step else steps, WEIGHT * GROWTH**progress)
            if (step + 1) % max(1, steps // 8) == 0 and step + 1 < steps:
                yield optimisation.estimate(step + 1)
        yield optimisation.estimate(steps)


class _Optimisation:
    """The parameters of all masks, those of one image and target side by side, and their gradient ascent."""

    def __init__(self, method: ExtremalPerturbation, box: OpenBox, images: Images, targets: Sequence[Target]) -> None:
        self.method, self.box = method, box
        self.size = (images.shape[-2], images.shape[-1])
        self.targets = [each for each in targets for _ in method.areas]
        self.areas = list(method.areas) * len(targets)
        self.grid = tuple(max(2, math.ceil(side / method.cell)) for side in self.size)
        with torch.inference_mode(False), torch.no_grad():
            batch = images.detach().clone().to(box.device)
            self.pyramids = torch.stack([make_pyramid(box, image, method.blur) for image in batch])
            self.cells = batch.new_ones(len(self.areas), *self.grid)
            self.velocity: Tensor | None = None
            self.kernel = self._make_kernel(batch)
        self.owners = torch.arange(len(self.areas), device=box.device) // len(method.areas) * (len(images) > 1)

    def _make_kernel(self, like: Tensor) -> Float[Tensor, " k"]:
        """Make the bell around a cell: 1 up to half of sigma, then falling like a Gaussian."""
        radius = 1 + math.ceil(self.method.sigma / self.method.cell)
        offsets = torch.arange(-radius, radius + 1).to(like)
        rows, columns = (offsets * side / cells for side, cells in zip(self.size, self.grid, strict=True))
        distance = torch.hypot(rows[:, None], columns[None]) / self.method.sigma
        return torch.exp(-2 * (distance - 0.5).clamp(min=0) ** 2).flatten()

    def rasterise(self, cells: Float[Tensor, "n y x"]) -> Masks:
        """Rasterise masks: the smooth maximum of the bells around each cell."""
        side = math.isqrt(len(self.kernel))
        padded = functional.pad(cells[:, None], [side // 2] * 4, mode="replicate")  # or the border would differ at the start
        bells = functional.unfold(padded, side) * self.kernel[:, None]
        small = (bells * (COLD * bells).softmax(1)).sum(1).unflatten(1, self.grid)
        return functional.interpolate(small[:, None], size=self.size, mode="bilinear", align_corners=False)[:, 0]

    def blend(self, masks: Masks, owners: Tensor) -> Images:
        """Blend each mask's image, the blurrier the lower the mask."""
        level = masks * (LEVELS - 1)
        lower = level.detach().floor().clamp(max=LEVELS - 2)
        stride = self.pyramids[0, 0].numel()
        pixels = torch.arange(stride, device=masks.device).view(self.pyramids.shape[2:])
        index = (owners[:, None, None] * LEVELS + lower.long())[:, None] * stride + pixels
        blurrier, clearer = self.pyramids.take(index), self.pyramids.take(index + stride)
        return torch.lerp(blurrier, clearer, (level - lower)[:, None])

    def step(self, step: int, steps: float, weight: float) -> None:
        """Make one step with all masks, a pass each; with fewer steps, longer ones, to a tenth of the area term's."""

        def differentiate_part(part: slice) -> Tensor:
            return self.differentiate(part, weight, mirrored=self.method.flip and step % 2 == 0)

        parts = Batches(self.box, "gradients", most=MOST).answers(len(self.areas), differentiate_part)
        gradient = torch.cat([each for _, each in parts])
        self.velocity = gradient if self.velocity is None else MOMENTUM * self.velocity + (1 - MOMENTUM) * gradient
        rate = min(RATE * max(1.0, PAPER / steps) ** 0.5, 0.1 * self.cells[0].numel() / (2 * weight))
        self.cells = (self.cells + rate * self.velocity).clamp(0, 1)

    def differentiate(self, part: slice, weight: float, *, mirrored: bool) -> Tensor:
        """Differentiate what the masks are to maximise with respect to their parameters."""
        with torch.inference_mode(False), torch.enable_grad():
            cells = self.cells[part].clone().requires_grad_()
            masks = self.rasterise(cells)
            batch = self.blend(masks, self.owners[part])
            with guard(self.box, batch):
                logits = self.box.logits(batch.flip(-1) if mirrored else batch)
                expect_finite(self.box, logits.detach())
                scores = [pick(target, row[None]) for target, row in zip(self.targets[part], logits, strict=True)]
                terms = [torch.cat(scores).sum(), -weight * measure_area_error(masks, self.areas[part]).sum()]
                gradients = torch.autograd.grad(terms, cells)[0]
        return gradients

    def estimate(self, steps: int) -> list[Estimate]:
        """Add up each target's masks, and smooth."""
        method, estimates = self.method, []
        notes = () if steps == method.steps else (f"made {steps} of {method.steps} steps",)
        with torch.no_grad():
            masks = self.rasterise(self.cells).unflatten(0, (-1, len(method.areas)))
        for each in masks:
            saliency = fill.blur(each.sum(0).expand(3, -1, -1), 0.09 * min(self.size))[0]
            excess = float((each.mean((1, 2)) - each.new_tensor(method.areas)).max())
            too_large = f"a mask covers {excess:.0%} of the picture more than asked: allow more steps"
            its_notes = (*notes, too_large) if excess > 0.05 else notes
            evidence = {"masks": each.float().cpu()}
            estimates.append(Estimate(saliency.float(), None, None, evidence, its_notes, steps * len(method.areas)))
        return estimates


def make_pyramid(box: OpenBox, image: Image, blur: float) -> Float[Tensor, "l c h w"]:
    """Make the levels of the blur: from hidden to clear."""
    if blur == 0:
        levels = torch.linspace(0, 1, LEVELS).to(image)[:, None, None, None]
        return torch.lerp(fill.make_fill("mean", box, image), image, levels)
    sigmas = [blur * (1 - level / (LEVELS - 1)) for level in range(LEVELS - 1)]
    return torch.stack([*(fill.blur(image, sigma) for sigma in sigmas), image])


def measure_area_error(masks: Masks, areas: Sequence[float]) -> Float[Tensor, " n"]:
    """Measure how far each mask is from one of its area: mean of (m − r)², r = 1 for the highest values, else 0."""
    flat = masks.flatten(1)
    count = flat.shape[1]
    ones = [count - int(count * (1 - area)) for area in areas]
    level = torch.stack([row.kthvalue(count - each + 1).values for row, each in zip(flat.detach(), ones, strict=True)])
    difference = flat.detach() - level[:, None]
    above, tied = difference > TIE, difference.abs() <= TIE
    share = (flat.new_tensor(ones) - above.sum(1)) / tied.sum(1)
    return (flat - torch.where(tied, share[:, None], above.to(flat))).square().mean(1)
