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

from salience.engine import target as aims
from salience.engine import validate
from salience.engine.inside.loop import MOST, BatchedMethod, expect_targets, run_in_parts
from salience.engine.perturb import fill
from salience.engine.query.ask import expect_finite, guard
from salience.engine.query.run import Run, current, plan_passes
from salience.errors import SettingError
from salience.types import Estimate, Image, Images, Masks, OpenBox, Target

LEAST = 20  # steps below which no mask finds its place
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
    """

    areas: Annotated[tuple[float, ...], Doc("shares of the picture that are kept, a mask each")] = (0.025, 0.05, 0.1, 0.2)
    steps: Annotated[int, Doc("steps up the gradient")] = 800
    cell: Annotated[int, Doc("side of the grid's cells, in pixels")] = 7
    sigma: Annotated[float, Doc("width of the bell around a cell, in pixels")] = 21.0
    blur: Annotated[float, Doc("sigma of the strongest blur, in pixels; 0 fades to the mean colour instead")] = 20.0
    flip: Annotated[bool, Doc("show every second picture in the mirror")] = True

    def __post_init__(self) -> None:
        if not self.areas:
            raise SettingError("expected at least one area, got none: a share of the picture, as in 0.1")
        for area in self.areas:
            validate.expect_between("area", area, 0, 1, open_ends=True)
        for name, least in (("steps", 1), ("cell", 1), ("sigma", 0.1), ("blur", 0)):
            validate.expect_between(name, getattr(self, name), least, None)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target, all together; one image may have several targets."""
        *_, found = self._grow(box, images, targets)
        return found

    def watch(self, box: OpenBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the masks as they move."""
        for found in self._grow(box, image[None], [target]):
            yield found[0]

    def _grow(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> Iterator[list[Estimate]]:
        expect_targets(box, images, targets)
        masks, least = len(targets) * len(self.areas), min(LEAST, self.steps)
        what = f"{least} steps of extremal perturbation with {masks} masks"
        steps = plan_passes(masks * self.steps, default=0, least=masks * least, what=what) // masks
        run, game = current.get() or Run(), _Game(self, box, images, targets)
        for step in range(steps):
            if run.room(masks, masks * step, masks * least) < masks:
                steps = step
                break
            late = (time.monotonic() - run.started) / (run.budget.seconds or math.inf)
            gone = max(step / steps, min(1.0, late))
            game.step(step, step / gone if step else steps, WEIGHT * GROWTH**gone)
            if (step + 1) % max(1, steps // 8) == 0 and step + 1 < steps:
                yield game.found(step + 1)
        yield game.found(steps)


class _Game:
    """The parameters of all masks, an image's and target's masks side by side, and how they move."""

    def __init__(self, how: ExtremalPerturbation, box: OpenBox, images: Images, targets: Sequence[Target]) -> None:
        self.how, self.box = how, box
        self.size = (images.shape[-2], images.shape[-1])
        self.targets = [each for each in targets for _ in how.areas]
        self.areas = list(how.areas) * len(targets)
        self.grid = tuple(max(2, math.ceil(side / how.cell)) for side in self.size)
        with torch.inference_mode(False), torch.no_grad():
            shown = images.detach().clone().to(box.device)
            self.pyramid = torch.stack([pyramid(box, image, how.blur) for image in shown])
            self.cells = shown.new_ones(len(self.areas), *self.grid)
            self.speed: Tensor | None = None
            self.bell = self._bell(shown)
        self.owners = torch.arange(len(self.areas), device=box.device) // len(how.areas) * (len(images) > 1)

    def _bell(self, like: Tensor) -> Float[Tensor, " k"]:
        """Return what a cell counts for at those around it: all up to half of sigma, then less, as a Gaussian falls."""
        reach = 1 + math.ceil(self.how.sigma / self.how.cell)
        line = torch.arange(-reach, reach + 1).to(like)
        rows, columns = (line * side / cells for side, cells in zip(self.size, self.grid, strict=True))
        away = torch.hypot(rows[:, None], columns[None]) / self.how.sigma
        return torch.exp(-2 * (away - 0.5).clamp(min=0) ** 2).flatten()

    def draw(self, cells: Float[Tensor, "n y x"]) -> Masks:
        """Draw masks: the smooth maximum of the bells around each cell."""
        side = math.isqrt(len(self.bell))
        wide = functional.pad(cells[:, None], [side // 2] * 4, mode="replicate")  # or the border would differ at the start
        bells = functional.unfold(wide, side) * self.bell[:, None]
        small = (bells * (COLD * bells).softmax(1)).sum(1).unflatten(1, self.grid)
        return functional.interpolate(small[:, None], size=self.size, mode="bilinear", align_corners=False)[:, 0]

    def show(self, masks: Masks, owners: Tensor) -> Images:
        """Show each mask's image, the blurrier the lower the mask."""
        level = masks * (LEVELS - 1)
        below = level.detach().floor().clamp(max=LEVELS - 2)
        stride = self.pyramid[0, 0].numel()
        pixels = torch.arange(stride, device=masks.device).view(self.pyramid.shape[2:])
        index = (owners[:, None, None] * LEVELS + below.long())[:, None] * stride + pixels
        blurry, clear = self.pyramid.take(index), self.pyramid.take(index + stride)
        return torch.lerp(blurry, clear, (level - below)[:, None])

    def step(self, step: int, steps: float, weight: float) -> None:
        """Move all masks once, a pass each; the fewer steps, the longer, to a tenth of what the area's term asks."""

        def ask(part: slice) -> Tensor:
            return self.gradients(part, weight, mirrored=self.how.flip and step % 2 == 0)

        gradient = torch.cat([each for _, each in run_in_parts(self.box, len(self.areas), MOST, "gradients", ask)])
        self.speed = gradient if self.speed is None else MOMENTUM * self.speed + (1 - MOMENTUM) * gradient
        rate = min(RATE * max(1.0, PAPER / steps) ** 0.5, 0.1 * self.cells[0].numel() / (2 * weight))
        self.cells = (self.cells + rate * self.speed).clamp(0, 1)

    def gradients(self, part: slice, weight: float, *, mirrored: bool) -> Tensor:
        """Differentiate what the masks are to maximise with respect to their parameters."""
        with torch.inference_mode(False), torch.enable_grad():
            cells = self.cells[part].clone().requires_grad_()
            masks = self.draw(cells)
            shown = self.show(masks, self.owners[part])
            with guard(self.box, shown):
                logits = self.box.logits(shown.flip(-1) if mirrored else shown)
                expect_finite(self.box, logits.detach())
                scores = [aims.pick(aim, row[None]) for aim, row in zip(self.targets[part], logits, strict=True)]
                terms = [torch.cat(scores).sum(), -weight * off(masks, self.areas[part]).sum()]
                gradients = torch.autograd.grad(terms, cells)[0]
        return gradients

    def found(self, steps: int) -> list[Estimate]:
        """Add up each target's masks, and smooth."""
        how, found = self.how, []
        made = () if steps == how.steps else (f"made {steps} of {how.steps} steps",)
        with torch.no_grad():
            masks = self.draw(self.cells).unflatten(0, (-1, len(how.areas)))
        for each in masks:
            saliency = fill.blur(each.sum(0).expand(3, -1, -1), 0.09 * min(self.size))[0]
            over = float((each.mean((1, 2)) - each.new_tensor(how.areas)).max())
            wide = (f"a mask covers {over:.0%} of the picture more than asked: allow more steps",) if over > 0.05 else ()
            evidence = {"masks": each.float().cpu()}
            found.append(Estimate(saliency.float(), None, None, evidence, (*made, *wide), steps * len(how.areas)))
        return found


def pyramid(box: OpenBox, image: Image, blur: float) -> Float[Tensor, "l 3 h w"]:
    """Return the image in steps: from hidden to clear."""
    if blur == 0:
        return torch.lerp(
            fill.make_fill("mean", box, image), image, torch.linspace(0, 1, LEVELS).to(image)[:, None, None, None]
        )
    sigmas = [blur * (1 - level / (LEVELS - 1)) for level in range(LEVELS - 1)]
    return torch.stack([*(fill.blur(image, sigma) for sigma in sigmas), image])


def off(masks: Masks, areas: Sequence[float]) -> Float[Tensor, " n"]:
    """Return how far each mask is from one of its area: mean of (m − r)², r = 1 for the highest values, 0 for the others."""
    flat = masks.flatten(1)
    count = flat.shape[1]
    ones = [count - int(count * (1 - area)) for area in areas]
    level = torch.stack([row.kthvalue(count - each + 1).values for row, each in zip(flat.detach(), ones, strict=True)])
    apart = flat.detach() - level[:, None]
    above, tied = apart > TIE, apart.abs() <= TIE
    share = (flat.new_tensor(ones) - above.sum(1)) / tied.sum(1)
    return (flat - torch.where(tied, share[:, None], above.to(flat))).square().mean(1)
