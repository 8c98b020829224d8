"""MC-RISE. Hatakeyama and others, Visualizing Color-wise Saliency of Black-box Image Classification Models, ACCV 2020."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float, Int
from PIL import ImageColor
from torch import Tensor
from typing_extensions import Doc

from salience.engine import seeding, validate
from salience.engine.estimate import jackknife
from salience.engine.perturb.masks import Grids, MaskStack, Mixed, completes_lot, make_enlargement
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import Estimate
from salience.methods._settings import Seed
from salience.types import BlackBox, Image, Images, Map, Masks, Scores, Target

AT_ONCE = 64  # masks that share one address
LEAST = 2
COLOURS = "black", "white", "red", "lime", "blue"


@dataclass(frozen=True)
class McRise:
    """Paint random cells in a few plain colours; a pixel matters as much as the score is higher where it is not painted.

    colour_k[p] = (1 / N) · Σ_i (y_i − ȳ) · (K · m_ik[p] / (1 − keep) − m_i0[p] / keep),   saliency = − mean_k colour_k

    m_i0 is the share of pixel p that mask i leaves, m_ik the share that it paints in colour k: grids of RISE's kind,
    whose cells are kept with probability `keep` and else take one of the K colours. So colour_k estimates
    E[score | painted in k] − E[score | seen]: what the score would gain by that colour there. The maps of all colours
    are in the evidence. Cost: N passes.

    Departs from the paper in taking the mean score ȳ off: no expectation changes, the noise of the masks' coverage goes.
    What is known: the abstract, and the debiased estimator and the masks as XAITK-Saliency, which cites the paper, has
    them; the paper's body was not read. Reconstruction: which colours, N, s and p (RISE's), and the mean over colours as
    the one map, which is debiased RISE, E[score | seen] − E[score | painted]. An image that has not three channels knows
    no red, lime and blue: by default each of its bands alone stands for them.

    >>> from salience.boxes import toy
    >>> saliency = McRise(masks=600)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    masks: Annotated[int | None, Doc("N, how many masks; none given: what the budget allows, or 4000")] = None
    cells: Annotated[int, Doc("s, cells along each side of the grid")] = 7
    keep: Annotated[float, Doc("the probability that a cell is left as it is")] = 0.5
    colours: Annotated[tuple[str, ...], Doc("what cells are painted in: names, #rrggbb, or band 4 for that alone")] = COLOURS
    seed: Seed = 0

    def __post_init__(self) -> None:
        validate.expect_between("masks", self.masks, LEAST, None)
        validate.expect_between("cells", self.cells, 1, None)
        validate.expect_between("keep", self.keep, 0, 1, open_ends=True)
        if not self.colours:
            raise SettingError("expected at least one colour, got none: name some, as in black")
        for name in self.colours:
            parse_colour(name, max(3, read_band(name) or 0))

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running estimate after each lot of masks."""
        size = (image.shape[-2], image.shape[-1])
        count = plan_passes(self.masks, default=4000, least=LEAST, what="mc-rise")
        groups = jackknife.group_estimators("centred", size, self.keep)
        names = self.name_colours(len(image))
        sums = ColourSums(len(names), self.cells, size)
        lots, black = self.sample_lots(count, size, len(image)), torch.zeros_like(image)
        for lot, masks, scores in loop.score_masked(box, image, target, lots, black, least=LEAST):
            groups.add(masks, scores)
            sums.add(lot, scores)
            if groups.count < count and completes_lot(groups.count, len(lot)):
                yield self.estimate(groups, sums, names)
        yield self.estimate(groups, sums, names)

    def estimate(self, groups: jackknife.Groups, sums: ColourSums, names: tuple[str, ...]) -> Estimate:
        """Fold all masks so far: the map of the pixels that are left, and for each colour its own less that one."""
        kept = groups.estimate()
        colours = sums.fold() * len(names) / (1 - self.keep) - kept.saliency
        error = None if kept.error is None else kept.error / (1 - self.keep)
        evidence = {"colours": colours, "names": names}
        return replace(kept, saliency=kept.saliency / (1 - self.keep), error=error, evidence=evidence)

    def name_colours(self, channels: int) -> tuple[str, ...]:
        """Return the names of the colours that images of so many channels are painted in."""
        if channels == 3 or self.colours != COLOURS:
            return self.colours
        return ("black", "white", *(f"band {number}" for number in range(1, channels + 1)))

    def sample_lots(self, count: int, size: tuple[int, int], channels: int = 3) -> Iterator[PaintedMasks]:
        """Sample the masks in lots; which masks come does not depend on how many."""
        colours = tuple(parse_colour(name, channels) for name in self.name_colours(channels))
        limits = torch.tensor([math.ceil(length / self.cells) for length in size])
        for begin in range(0, count, AT_ONCE):
            generator = seeding.generator(self.seed, "mc-rise", size, self.cells, self.keep, len(colours), begin // AT_ONCE)
            rand = partial(torch.rand, generator=generator)
            kept = rand(AT_ONCE, self.cells, self.cells) < self.keep
            labels = torch.where(kept, 0, 1 + (rand(AT_ONCE, self.cells, self.cells) * len(colours)).long())
            shifts = (rand(AT_ONCE, 2) * limits).long()
            yield PaintedMasks(labels[: count - begin], shifts[: count - begin], size, colours)


def parse_colour(name: str, channels: int) -> tuple[float, ...]:
    """Return the value of each channel in 0…1; of a grey all are the same, of a band all others are 0.

    >>> parse_colour("red", 3), parse_colour("white", 4), parse_colour("band 2", 4)
    ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (0.0, 1.0, 0.0, 0.0))
    """
    band = read_band(name)
    if band is not None and 1 <= band <= channels:
        return tuple(float(number == band) for number in range(1, channels + 1))
    try:
        colour = tuple(part / 255 for part in ImageColor.getrgb(name)[:3])
    except ValueError:
        raise SettingError(f"expected colours by name, as #rrggbb or as band 1, got {name!r}: correct it") from None
    if channels != 3 and len(set(colour)) > 1:
        raise SettingError(f"expected a grey or a band, as in band 1, for an image of {channels} channels, got {name!r}")
    return colour if channels == 3 else colour[:1] * channels


def read_band(name: str) -> int | None:
    """Read the number of a band, counted from 1; None where it is the name of a colour.

    >>> read_band("band 4"), read_band("lime")
    (4, None)
    """
    number = name.removeprefix("band ")
    return int(number) if number != name and number.isdecimal() else None


@dataclass(frozen=True)
class PaintedMasks(MaskStack, Mixed):
    """Grids of labels: 0 leaves a cell as it is, k paints it in colour k. Enlarged and shifted as RISE's grids are."""

    labels: Int[Tensor, "n s s"]
    shifts: Int[Tensor, "n 2"]
    size: tuple[int, int]
    colours: tuple[tuple[float, ...], ...]

    def rasterise(self, like: Tensor) -> Masks:
        """Return the share of each pixel that is left as it is."""
        return Grids((self.labels == 0).to(like), self.shifts, self.size).rasterise(like)

    def paint(self, out: Images, scale: Tensor, shift: Tensor) -> Images:
        """Paint cells, and leave black what is not painted. Scaling the few colours is scaling all pixels."""
        rows, columns = make_enlargement(self.labels.shape[-1], self.shifts, self.size, out)
        colours = out.new_tensor([[0.0] * len(self.colours[0]), *self.colours]) * scale.flatten() + shift.flatten()
        cells = colours[self.labels.to(out.device)].movedim(-1, 1)
        return torch.matmul(rows[:, None] @ cells, columns[:, None], out=out)


class ColourSums:
    """(1 / N) · Σ_i (y_i − ȳ) · m_ik, without rasterising masks: cells are summed by shift, and enlarged once.

    A mask is rows[shift] · cells · columns[shift]; masks of one shift share both matrices, so their cells come first.
    """

    def __init__(self, colours: int, cells: int, size: tuple[int, int]) -> None:
        self.size, self.count = size, 0
        self.limits = [math.ceil(length / cells) for length in size]
        self.sums = torch.zeros(2, math.prod(self.limits), colours, cells, cells, dtype=torch.float64)  # Σ m, Σ y m
        self.total = 0.0  # Σ y

    def add(self, lot: PaintedMasks, scores: Scores) -> None:
        """Add a batch."""
        exact = scores.double().cpu()
        cells = (lot.labels[:, None] == torch.arange(1, self.sums.shape[2] + 1)[:, None, None]).double()
        shift = lot.shifts[:, 0] * self.limits[1] + lot.shifts[:, 1]
        self.sums[0].index_add_(0, shift, cells)
        self.sums[1].index_add_(0, shift, cells * exact[:, None, None, None])
        self.count += len(exact)
        self.total += float(exact.sum())

    def fold(self) -> Float[Tensor, "k h w"]:
        """Return a map a colour."""
        centred = (self.sums[1] - self.total / self.count * self.sums[0]).unflatten(0, self.limits).float() / self.count
        shifts = [torch.arange(length)[:, None].expand(-1, 2) for length in self.limits]
        like, side = centred.new_zeros(0), centred.shape[-1]
        rows, columns = (make_enlargement(side, each, self.size, like)[axis] for axis, each in enumerate(shifts))
        return torch.einsum("ahy,abkyx,bxw->khw", rows, centred, columns)
