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
from salience.engine.training.network import preserve_random_state
from salience.errors import SettingError
from salience.types import BlackBox, Target, TrainableBox

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the modules with weights, after the logit layer alone


@dataclass(frozen=True)
class Randomisation:
    """Randomise what the network has learnt: a map that depends on it changes.

    randomisation = mean over networks r of ρ(S_f(x), S_r(x))

    "cascade" reinitialises weights from the output down: the logit layer, then a quarter, a half, three quarters and all
    of the modules with weights, in the order of a pass. "independent" reinitialises the same five blocks one at a time.
    "logit" leaves the network and explains another class, chosen at random (Sixt et al., ICML 2020). "labels" takes the
    box `other`, the same network trained on permuted labels. ρ is Spearman's, of the maps with their signs; a map that
    has become constant has nothing in common with the first, so its ρ is 0, and the evidence counts how many did
    ("blank"). The target stays, but for "logit", and so does the method's seed.

    Not defined where the map itself is constant; for "logit" where the target is not one class of several.
    Range −1 to 1; 0 is nothing in common. Cost: the method's, 5 times; once for "logit" and "labels".

    Departs from the paper: weights are sampled by He's rule, not from a truncated normal, so that a randomised network's
    answer still depends on the image; its value is the curve's mean, the curve being the evidence.

    >>> from salience.boxes import toy
    >>> image = toy.picture()
    >>> case = Case(toy.load("colour"), image, 0, image[0], explain=lambda box, image, target, seed: image[target])
    >>> round(Randomisation("logit")(case).value, 2)
    -1.0
    """

    protocol: Annotated[Literal["cascade", "independent", "logit", "labels"], Doc("what is taken away")] = "cascade"
    other: Annotated[str, Doc('the spec of the box trained on permuted labels, for "labels"')] = ""
    similarity: Annotated[Kind, Doc("how maps are compared")] = "spearman"
    seed: Annotated[int, Doc("of the weights or of the class")] = 0
    better: ClassVar[Better] = "lower"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Weights can be reinitialised in an open box only."""
        return ("method", "gradients") if self.protocol in ("cascade", "independent") else ("method",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        similarities: list[float] = []
        shares: list[float] = []
        blanks = 0
        for share, box, target in self._randomise(case):
            other = case.again(box, case.image, target, None)
            blank = not maps.find_flaws(case.saliency) and bool(maps.find_flaws(other)) and bool(torch.isfinite(other).all())
            similarities.append(0.0 if blank else compare(case.saliency, other, self.similarity))
            shares.append(share)
            blanks += blank
        value = fmean(similarities) if similarities else math.nan
        return MeasureResult(value, {"curve": {"x": shares, "y": similarities}, "blank": blanks})

    def _randomise(self, case: Case) -> Iterator[tuple[float, BlackBox, Target]]:
        """Yield the share of the modules that is reinitialised, the box to explain, and its target."""
        if self.protocol == "labels":
            yield 1.0, _open_other(self.other, case.box), case.target
        elif self.protocol == "logit":
            count = len(case.box.classes)
            if isinstance(case.target, int) and count > 1:
                step = torch.randint(1, count, (1,), generator=seeding.generator(self.seed, "randomisation", case.target))
                yield 0.0, case.box, (case.target + int(step)) % count
        else:
            box = case.box
            if not isinstance(box, TrainableBox):
                expected = f"expected a torch network for randomisation/{self.protocol}, got {box.name}"
                raise SettingError(f"{expected}: take randomisation/logit")
            names = box.list_weighted()
            for begin, end in pairwise((0, *plan_cascade(len(names)))):
                blocks = names[-end:] if self.protocol == "cascade" else names[len(names) - end : len(names) - begin]
                yield end / len(names), box.reinitialise(blocks, self.seed), case.target


def plan_cascade(count: int) -> list[int]:
    """Count the modules, from the output on, that are reinitialised after each step of the cascade."""
    return sorted({1, *(math.ceil(share * count) for share in SHARES)}) if count else []


@lru_cache(maxsize=1)
def _open_box(spec: str) -> BlackBox:
    with preserve_random_state():  # weights are drawn before those of a file take their place
        return specs.open_box(spec)


def _open_other(spec: str, box: BlackBox) -> BlackBox:
    if not spec:
        raise SettingError("expected a box trained on permuted labels for randomisation/labels, got none: give other=SPEC")
    other = _open_box(spec)
    if (other.size, len(other.classes)) != (box.size, len(box.classes)):
        sizes = [f"{len(each.classes)} classes at {each.size[0]}×{each.size[1]}" for each in (box, other)]
        raise SettingError(f"expected the same network on permuted labels, {sizes[0]}, got {sizes[1]}: give another")
    return other
