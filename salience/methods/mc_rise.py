"""MC-RISE. Hatakeyama and others, Visualizing Color-wise Saliency of Black-box Image Classification Models, ACCV 2020."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from PIL import ImageColor
from torch import Tensor

from salience.engine import chance, estimate, groups, masks, probe
from salience.errors import SettingError
from salience.types import BlackBox, Found, Image, Images, Map, Target

AT_ONCE = 64  # masks that share one address
LEAST = 2


@dataclass(frozen=True)
class McRise:
    """Paint random cells in a few plain colours; a pixel matters as much as the score is higher when it is seen as it is.

    colour_k[p] = (1 / N) · Σ_i (y_i − ȳ) · (K · m_ik[p] / (1 − keep) − m_i0[p] / keep),   saliency = − mean_k colour_k

    m_i0 is the share of pixel p that mask i leaves, m_ik the share that it paints in colour k: grids of RISE's kind,
    whose cells are kept with probability `keep` and else take one of the K colours. So colour_k estimates
    E[score | painted in k] − E[score | seen]: what the picture would gain by that colour there. The maps of all colours
    are in the evidence. Cost: N passes.

    Departs from the paper in taking the mean score ȳ off: no expectation changes, the noise of the masks' coverage goes.
    What is known: the abstract, and the debiased estimator and the masks as XAITK-Saliency, which cites the paper, has
    them; the paper's body was not read. Reconstruction: which colours, N, s and p (RISE's), and the mean over colours as
    the one map, which is debiased RISE, E[score | seen] − E[score | painted].
    """

    masks: int | None = None  # N, how many masks; none given: what the budget allows, or 4000
    cells: int = 7  # s, cells along each side of the grid
    keep: float = 0.5  # the probability that a cell is left as it is
    colours: tuple[str, ...] = ("black", "white", "red", "lime", "blue")  # what cells are painted in: names, or #rrggbb
    seed: int = 0  # the same seed gives the same masks

    def __post_init__(self) -> None:
        probe.expect_between("masks", self.masks, LEAST, None)
        probe.expect_between("cells", self.cells, 1, None)
        probe.expect_between("keep", self.keep, 0, 1, open_ends=True)
        self.paints()

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return probe.last(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Found]:
        """Yield the running estimate after each lot of masks."""
        size = (image.shape[-2], image.shape[-1])
        count = probe.plan(self.masks, default=4000, least=LEAST, what="mc-rise")
        many = len(self.colours)
        seen = groups.grouped("centred", size, self.keep)
        painted = estimate.Every("centred", (many * size[0], size[1]), (1 - self.keep) / many)  # the planes as one
        lots, none = self.lots(count, size), torch.zeros_like(image)
        for part, shares, scores in probe.each(box, image, target, lots, none, least=LEAST):
            seen.add(shares[:, 0], scores)
            painted.add(shares[:, 1:].flatten(1, 2), scores[:, None])
            if seen.count < count and seen.count // masks.LOT > (seen.count - len(part)) // masks.LOT:
                yield self.found(seen, painted)
        yield self.found(seen, painted)

    def found(self, seen: groups.Groups, painted: estimate.Every) -> Found:
        """Fold what has been seen: the seen pixels' map, and for each colour its own less that one."""
        found = seen.found()
        colours = painted.fold()[0].cpu().unflatten(0, (len(self.colours), -1)).float() - found.saliency
        error = None if found.error is None else found.error / (1 - self.keep)
        evidence = {"colours": colours, "names": self.colours}
        return replace(found, saliency=found.saliency / (1 - self.keep), error=error, evidence=evidence)

    def paints(self) -> tuple[tuple[float, ...], ...]:
        """Return the colours, red, green and blue in 0…1."""
        if not self.colours:
            raise SettingError("expected at least one colour, got none: name some, as in black")
        try:
            return tuple(tuple(part / 255 for part in ImageColor.getrgb(each)[:3]) for each in self.colours)
        except ValueError:
            raise SettingError(f"expected colours by name or as #rrggbb, got {self.colours!r}: correct them") from None

    def lots(self, count: int, size: tuple[int, int]) -> Iterator[Painted]:
        """Draw the masks in lots; which masks come does not depend on how many."""
        paints, many = self.paints(), len(self.colours)
        spread = torch.tensor([math.ceil(length / self.cells) for length in size])
        for begin in range(0, count, AT_ONCE):
            chances = chance.generator(self.seed, "mc-rise", size, self.cells, self.keep, many, begin // AT_ONCE)
            rand = partial(torch.rand, generator=chances)
            kept = rand(AT_ONCE, self.cells, self.cells) < self.keep
            colour = 1 + (rand(AT_ONCE, self.cells, self.cells) * many).long()
            shifts = (rand(AT_ONCE, 2) * spread).long()
            yield Painted(torch.where(kept, 0, colour)[: count - begin], shifts[: count - begin], size, paints)


@dataclass(frozen=True)
class Painted:
    """Grids of labels: 0 leaves a cell as it is, k paints it in colour k. Enlarged and shifted as RISE's grids are."""

    labels: Int[Tensor, "n s s"]
    shifts: Int[Tensor, "n 2"]
    size: tuple[int, int]
    paints: tuple[tuple[float, ...], ...]  # the colours

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Painted:
        return Painted(self.labels[part], self.shifts[part], self.size, self.paints)

    def draw(self, like: Tensor) -> Float[Tensor, "n k h w"]:
        """Return the share of each label at each pixel; together they are 1."""
        rows, columns = masks.sides(self.labels.shape[-1], self.shifts, self.size, like)
        cells = self.labels[:, None] == torch.arange(len(self.paints) + 1)[:, None, None]
        return rows[:, None] @ cells.to(like) @ columns[:, None]

    def mix(self, drawn: Float[Tensor, "n k h w"], image: Image, out: Images) -> None:
        """Mix the image with the colours: each pixel is Σ share · colour, the first share being the image's."""
        colours = image.new_tensor(self.paints).T
        torch.matmul(colours, drawn[:, 1:].flatten(2), out=out.flatten(2))
        out.addcmul_(drawn[:, :1], image)
