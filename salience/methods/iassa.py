"""IASSA. Vasu and Long, Iterative and Adaptive Sampling with Spatial Attention for Black-Box Model Explanations.

WACV 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

import torch
from typing_extensions import Doc

from salience.engine import maps, seeding, validate
from salience.engine.estimate import occlusion
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import Estimate
from salience.methods._iassa import attention, plus
from salience.methods._settings import Fill
from salience.types import BlackBox, Image, Map, Region, Target

Version = Literal["official", "intent"]
MOST = 1400  # windows in one adaptive round
PLUS = ("variant", "threshold", "fill", "seed")  # the settings of `plus`


@dataclass(frozen=True)
class Iassa:
    """Slide a window over the image, attend to pixels like those where the score drops, and repeat there, finer.

    Round k hides windows of side W_k = int(W₀ − 1.5 k) at steps of s_k = int(s₀ − 0.2 (k − 1)) and makes a map S_k.
    Attention spreads it over pixels with similar features: Ŝ_k = λ S_k + (1 − λ) Att(S_k). Where Ŝ_k lies above
    min + t (max − min) is the region R_k, around which round k + 1 hides its windows.

    What is known: the paper's body could not be read. `official` follows the authors' public code, crash bugs
    fixed: its selection keeps nearly every window and its attention is nearly constant. `intent` is our
    reconstruction of what abstract, poster and figures describe: windows that touch R (grown by s_k), drops pooled
    over all rounds and divided by coverage, cosine attention at temperature 0.05. `selection`, `estimator` and
    `attention` switch between the two, part by part. `plus` is ours: rounds of random masks at two scales,
    multiplied, until the map has converged; its settings are `threshold`, `fill` and `seed`.

    Departs from the code: the last round, whose map the code throws away, is not run; the answer is the last map,
    not the one that overlaps the annotation most. Cost: 6,286 passes (`official`), up to 7,655 (`intent`; fewer where
    the region is small), up to 2,048 (`plus`).

    >>> from salience.boxes import toy
    >>> saliency = Iassa(window=12, stride=3, rounds=3)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    variant: Annotated[Literal["official", "intent", "plus"], Doc("official, intent or plus")] = "intent"
    features: Annotated[
        str, Doc("what attention compares: self, lab-xy, none, another box, or auto (self if the box has layers)")
    ] = "auto"
    rounds: Annotated[int, Doc("K, adaptive rounds after the coarse one")] = 5
    window: Annotated[int, Doc("W₀, side of the first windows, in pixels")] = 45
    stride: Annotated[int, Doc("s₀, step between the first windows, in pixels")] = 8
    mix: Annotated[float, Doc("λ, the share of the map that is not attended")] = 0.5
    threshold: Annotated[float, Doc("t, where the region begins, in the map's range")] = 0.3
    fill: Fill = "mean"
    seed: Annotated[int, Doc("which windows are left out where the budget does not allow all")] = 0
    selection: Annotated[Version | None, Doc("official or intent; none given: as the variant says")] = None
    estimator: Annotated[Version | None, Doc("official or intent; none given: as the variant says")] = None
    weight_power: Annotated[float, Doc("weight of a round, (W₀ / W_k) to this power")] = 0.0
    attention: Annotated[Version | None, Doc("official or intent; none given: as the variant says")] = None

    def __post_init__(self) -> None:
        if self.variant not in ("official", "intent", "plus"):
            raise SettingError(f"expected variant official, intent or plus, got {self.variant!r}")
        for name in ("selection", "estimator", "attention"):
            if getattr(self, name) not in (None, "official", "intent"):
                raise SettingError(f"expected {name} official or intent, got {getattr(self, name)!r}")
        foreign = [each.name for each in fields(self) if each.name not in PLUS and getattr(self, each.name) != each.default]
        if self.variant == "plus" and foreign:
            raise SettingError(
                f"expected only {', '.join(PLUS[1:])} with variant plus, got {foreign[0]}: choose variant intent"
            )
        validate.expect_between("mix", self.mix, 0, 1)
        validate.expect_between("threshold", self.threshold, 0, 1)
        validate.expect_between("rounds", self.rounds, 0, None)
        if int(self.window - 1.5 * self.rounds) < 1 or self.stride - 0.2 * (self.rounds - 1) < 1:
            raise SettingError(
                f"expected windows and strides of a pixel at least in round {self.rounds}, "
                f"got window {self.window} and stride {self.stride}: start larger or run fewer rounds"
            )

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the map after every round."""
        if self.variant == "plus":
            yield from plus.watch(box, image, target, self.fill, self.threshold, self.seed)
            return
        size = (image.shape[-2], image.shape[-1])
        official = self._choose("estimator") == "official"
        windows, first_cover = masks.order_windows(size, *self.get_sides(0))
        least = len(windows) if official else first_cover
        allowed = plan_passes(None, default=2**31, least=least + 1, what=f"iassa ({self.variant})")
        image_score = loop.score_image(box, image, target)
        source, attend = self._attention(box, image)
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        drops, rounds, last_round = occlusion.OcclusionEstimate(size), list[dict[str, Any]](), max(0, self.rounds - official)
        windows = windows[: max(least, allowed // 3)]
        for number in range(last_round + 1):
            scores = torch.cat(
                [y.cpu() for _, _, y in loop.score_masked(box, image, target, [windows], baseline, least=least)]
            )
            if official and len(scores) < len(windows):
                return  # half a round has no meaning here: the last whole one is the answer
            windows = windows[: len(scores)]
            if official:
                raw = (scores.double().sum() - windows.accumulate(scores)) / len(windows)  # Σ y m / N, with m = 1 − o
                estimate = Estimate(raw.float())
            else:
                drops.add(windows, image_score - scores, (self.window / self.get_sides(number)[0]) ** self.weight_power)
                raw, estimate = drops.map(), drops.estimate()
            attended = raw if attend is None else self.mix * raw + (1 - self.mix) * attend(raw)
            region = maps.threshold(attended, self.threshold)
            rounds.append(self._describe_round(number, size, windows, region))
            evidence = {"raw": raw.float(), "region": region, "rounds": tuple(rounds), "features": source}
            yield replace(estimate, saliency=attended.float(), evidence=evidence)
            remaining = allowed - 1 - sum(each["windows"] for each in rounds)
            if number == last_round or remaining <= 0:
                return
            windows, least = self.select_windows(size, number + 1, region, remaining // (last_round - number)), 0

    def get_sides(self, number: int) -> tuple[int, int]:
        """Return window and stride of a round; both shrink by a constant and are cut to whole pixels."""
        return int(self.window - 1.5 * number), int(self.stride - 0.2 * max(0, number - 1))

    def select_windows(self, size: tuple[int, int], number: int, region: Region, most: int) -> masks.Windows:
        """Select the windows of a round: those that touch the region, or, as officially, all that do not cover it."""
        window, stride = self.get_sides(number)
        grid = masks.lay_windows(size, window, stride)
        if self._choose("selection") == "official":
            inside = masks.Windows(grid.edges, size).count_pixels(region)
            return masks.Windows(grid.edges[inside < int(region.sum())], size)
        grown = maps.dilate(region, stride)
        if 0 < float(region.float().mean()) <= 0.9:  # else there is nothing to adapt to in this round
            grid = masks.Windows(grid.edges[grid.count_pixels(grown) > 0], size)
        most = min(MOST, most)
        if len(grid) > most:
            chosen = torch.randperm(len(grid), generator=seeding.generator(self.seed, "iassa", number))[:most]
            grid = masks.Windows(grid.edges[chosen.sort().values], size)
        return grid

    def _describe_round(self, number: int, size: tuple[int, int], windows: masks.Windows, region: Region) -> dict[str, Any]:
        window, stride = self.get_sides(number)
        grid, share = len(masks.lay_windows(size, window, stride)), float(region.float().mean())
        return {"window": window, "stride": stride, "windows": len(windows), "grid": grid, "region": share}

    def _choose(self, part: str) -> Version:
        version: Version | None = getattr(self, part)
        return version or ("official" if self.variant == "official" else "intent")

    def _attention(self, box: BlackBox, image: Image) -> tuple[str, Callable[[Map], Map] | None]:
        if self.features == "none" or self.mix == 1:
            return "none", None
        source, levels = attention.read_levels(self.features, box, image)
        if self._choose("attention") == "official":
            return source, attention.Official(levels)
        return source, attention.Intent(attention.join_levels(source, levels))
