"""Randomisation. Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, Sanity Checks for Saliency Maps, NeurIPS 2018."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import fmean
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from salience import specs
from salience.case import Better, Case, MeasureResult, Need
from salience.engine import maps, seeding
from salience.engine.similarity import Kind, compare
from salience.errors import SettingError
from salience.types import BlackBox, Target, TrainableBox

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the modules with weights, after the logit layer alone


@dataclass(frozen=True)
class Randomisation:
    """Take away what the network has learnt: a map that is about the network changes.

    randomisation = mean over networks r of ρ(S_f(x), S_r(x))

    "cascade" draws weights anew from the output down: the logit layer, then a quarter, a half, three quarters and all
    of the modules with weights, in the order of a pass. "independent" draws anew the same five blocks one at a time.
    "logit" leaves the network and asks for another class, drawn at random (Sixt et al., ICML 2020). "labels" asks the
    box `other`, the same network trained on permuted labels. ρ is Spearman's, of the maps with their signs; a map that
    has become constant has nothing in common with the first, so its ρ is 0, and the evidence counts how many did
    ("blank"). The target stays, but for "logit", and so does the method's seed.

    Not defined where the map itself is constant; for "logit" where the target is not one class of several.
    Range −1 to 1; 0 is nothing in common. Cost: the method's, 5 times; once for "logit" and "labels".

    Departs from the paper: weights are drawn by He's rule, not from a truncated normal, so that the answer of a drawn
    network still depends on the image; its value is the curve's mean, the curve being the evidence.
    """

    protocol: Annotated[Literal["cascade", "independent", "logit", "labels"], Doc("what is taken away")] = "cascade"
    other: Annotated[str, Doc('the spec of the box trained on permuted labels, for "labels"')] = ""
    likeness: Annotated[Kind, Doc("how maps are compared")] = "spearman"
    seed: Annotated[int, Doc("of the weights or of the class")] = 0
    better: ClassVar[Better] = "lower"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Weights can be drawn anew in an open box only."""
        return ("method", "gradients") if self.protocol in ("cascade", "independent") else ("method",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        alike: list[float] = []
        shares: list[float] = []
        blanks = 0
        for share, box, target in self._asked(case):
            other = case.again(box, case.image, target, None)
            blank = not maps.find_flaws(case.saliency) and bool(maps.find_flaws(other)) and bool(torch.isfinite(other).all())
            alike.append(0.0 if blank else compare(case.saliency, other, self.likeness))
            shares.append(share)
            blanks += blank
        return MeasureResult(fmean(alike) if alike else math.nan, {"curve": {"x": shares, "y": alike}, "blank": blanks})

    def _asked(self, case: Case) -> Iterator[tuple[float, BlackBox, Target]]:
        """Yield the share of the modules that is drawn anew, the box to ask, and what about."""
        if self.protocol == "labels":
            yield 1.0, _other(self.other, case.box), case.target
        elif self.protocol == "logit":
            count = len(case.box.classes)
            if isinstance(case.target, int) and count > 1:
                step = torch.randint(1, count, (1,), generator=seeding.generator(self.seed, "randomisation", case.target))
                yield 0.0, case.box, (case.target + int(step)) % count
        else:
            box = case.box
            if not isinstance(box, TrainableBox):
                said = f"expected a torch network for randomisation/{self.protocol}, got {box.name}"
                raise SettingError(f"{said}: take randomisation/logit")
            names = box.list_weighted()
            for begin, end in pairwise((0, *reached(len(names)))):
                blocks = names[-end:] if self.protocol == "cascade" else names[len(names) - end : len(names) - begin]
                yield end / len(names), box.reinitialise(blocks, self.seed), case.target


def reached(count: int) -> list[int]:
    """Return how many of the modules, from the output on, each step of the cascade has reached."""
    return sorted({1, *(math.ceil(share * count) for share in SHARES)}) if count else []


@lru_cache(maxsize=1)
def _opened(spec: str) -> BlackBox:
    return specs.open_box(spec)


def _other(spec: str, box: BlackBox) -> BlackBox:
    if not spec:
        raise SettingError("expected a box trained on permuted labels for randomisation/labels, got none: give other=SPEC")
    other = _opened(spec)
    if (other.size, len(other.classes)) != (box.size, len(box.classes)):
        told = [f"{len(each.classes)} classes at {each.size[0]}×{each.size[1]}" for each in (box, other)]
        raise SettingError(f"expected the same network on permuted labels, {told[0]}, got {told[1]}: give another")
    return other
