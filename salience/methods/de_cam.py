"""DE-CAM. Karatsiolis and Kamilaris, A Model-agnostic Approach for Generating Saliency Maps, and so on.

The title goes on: to Explain Inferred Decisions of Deep Learning Models. VISAPP 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience.engine import seeding, validate
from salience.engine.perturb import fill
from salience.engine.perturb.masks import Lot, completes_lot
from salience.engine.query import loop
from salience.engine.query.ask import choose_backend
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import Estimate
from salience.methods._de_cam import encodings, evolution
from salience.methods._de_cam.regression import MaskRegression
from salience.methods._settings import Fill
from salience.types import BlackBox, Image, Map, Scores, Target

Variant = Literal["r1", "r0", "unevolved"]
Fitness = Literal["preserve", "delete", "hybrid"]
EPS = 1e-4  # probabilities below are all alike to the logarithm
TIE = 1e-5  # fitnesses that differ by less are equal: batches of another size sum in another order


@dataclass(frozen=True)
class DeCam:
    """Evolve masks that keep the score and hide the rest; the map is regressed from all masks ever tried.

    fitness(m) = T(score(m x + (1 − m) b)) − T(score((1 − m) x + m b)) − λ · area(m)    (`hybrid`; `preserve` has the
    first score alone, `delete` the second)
    saliency   = (Cov + k I)⁻¹ v, with Cov the covariance of the masks and v theirs with the scores

    What is known of the paper: differential evolution searches for the pixels that matter, by scores alone; the authors
    find the maps comparable with those of methods with gradients, at a higher cost, and better on some models only.
    Its body could not be read: encodings, fitness, operators and every number here are reconstruction, after our
    specification. `r0` is the plainest method that fits what is known: 7×7 opacities, uniform at first, DE/rand/1/bin
    with F 0.5 and CR 0.9 for a population of 50, T(p) = p, λ 0.5, the map being the mean of the last population. `r1`
    repairs it: 14×14 cells (7×7 up to 1,000 passes), zeros and ones at first, with a random share of ones in each mask,
    T(p) = (log(p + ε) − log ε) / −log ε with ε 1e-4, L-SHADE from 100 down to 4, λ 0.3, and the regression above.
    `unevolved` is r1 without evolution, the ablation that any claim for the search has to pass.

    The best mask is in the evidence: `mask`, its `area`, and the score it has `kept` or, hidden, has `left`.

    Departs from the specification: no variation term in the fitness (its weight is 0 in both profiles); superpixels
    are shown or hidden, not veiled; the map is raw, neither clipped nor smoothed; a target that is no class has T(p) = p.
    Cost: 2,500 passes (r0: 5,000), or the budget; two a mask with `hybrid`.

    >>> from salience.boxes import toy
    >>> saliency = DeCam(cells=4)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    variant: Annotated[Variant, Doc("r1, r0 or unevolved")] = "r1"
    encoding: Annotated[encodings.Name, Doc("what a mask is made of: grid, regions (superpixels) or blobs")] = "grid"
    fitness: Annotated[
        Fitness, Doc("what a good mask does: preserve the score, delete it when hidden, or both (hybrid)")
    ] = "preserve"
    cells: Annotated[
        int | None, Doc("G, cells along a side (regions: G² of them; blobs: their number); none given: 7, 14 or 4")
    ] = None
    area: Annotated[float | None, Doc("λ, the weight of the area in the fitness; none given: 0.3 (r0: 0.5)")] = None
    fill: Fill = "mean"
    seed: Annotated[int, Doc("the same seed gives the same search")] = 0

    def __post_init__(self) -> None:
        for name, known in (("variant", Variant), ("encoding", encodings.Name), ("fitness", Fitness)):
            if getattr(self, name) not in get_args(known):
                raise SettingError(f"expected {name} {', '.join(get_args(known))}, got {getattr(self, name)!r}: choose one")
        validate.expect_between("cells", self.cells, 1, None)
        validate.expect_between("area", self.area, 0, None)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running map after every few generations."""
        r0, passes_each = self.variant == "r0", 2 if self.fitness == "hybrid" else 1
        limit = 5000 if r0 else 2500
        passes = plan_passes(None, default=limit, least=8 * passes_each, what=f"de-cam ({self.variant}, {self.fitness})")
        total = (passes if passes < 2**31 else limit) // passes_each
        encoding = encodings.make_encoding(self.encoding, image, self.cells, 7 if r0 or passes <= 1000 else 14, self.seed)
        evaluate = _Evaluation(self, box, image, target, encoding)
        search = self._search(encoding.dimensions, total)
        evaluated = 0
        while evaluated < total:
            population = search.ask()[: total - evaluated]
            values = evaluate(population, least=0 if evaluated else len(population))
            search.tell(values)
            out_of_budget = len(values) < len(population)
            evaluated += len(values)
            if completes_lot(evaluated, len(values)) or out_of_budget or evaluated == total:
                yield evaluate.estimate(search.population if r0 else None)
            if out_of_budget:
                return

    @property
    def area_weight(self) -> float:
        """λ."""
        return self.area if self.area is not None else 0.5 if self.variant == "r0" else 0.3

    def _search(self, dimensions: int, total: int) -> evolution.Search:
        """Make the population and its optimiser. A small budget has a small population: ten generations at least."""
        r0 = self.variant == "r0"
        size, generator = min(50 if r0 else 100, max(8, total // 10)), seeding.generator(self.seed, "de-cam")
        start = evolution.sample_uniform if r0 or self.encoding == "blobs" else evolution.sample_binary
        population = start(size, dimensions, generator)
        if r0:
            return evolution.Classic(population, self.seed, tie=TIE)
        if self.variant == "r1":
            return evolution.Shade(population, self.seed, total, tie=TIE)
        return evolution.Unevolved(population, self.seed, start, tie=TIE)


class _Evaluation:
    """Scores masks, remembers the best, and folds all into the map."""

    def __init__(self, method: DeCam, box: BlackBox, image: Image, target: Target, encoding: encodings.Encoding) -> None:
        self.method, self.box, self.target, self.encoding = method, box, target, encoding
        self.image, self.baseline = image, fill.make_fill(method.fill, box, image, method.seed).contiguous()
        self.regression, self.pending = MaskRegression(encoding.paint, encoding.numbers), list[tuple[Tensor, Scores]]()
        self.first_score: Tensor | None = None  # is subtracted from all, so that equal ones are exactly 0
        self.has_varied, self.best, self.count = False, -math.inf, 0
        self.best_trial, self.evidence = torch.empty(0), dict[str, Any]()  # the best so far, rasterised for an estimate
        self.trace: list[tuple[int, float, float]] = []  # masks, best and mean fitness
        choose_backend(box, image)

    def __call__(self, population: evolution.Population, least: int) -> Float[Tensor, " m"]:
        """Return the fitness of each, or of as many as could be scored."""
        by_role: dict[str, Tensor] = {}
        if self.method.fitness != "delete":
            by_role["kept"], rows, areas = self._score(population, self.image, self.baseline, least)
        if self.method.fitness != "preserve":
            by_role["left"], rows, areas = self._score(population, self.baseline, self.image, least)
        scored = min(len(each) for each in by_role.values())
        if not scored:
            return population.new_zeros(0)
        scores = torch.zeros(scored, dtype=torch.float64)
        for name, each in by_role.items():
            scores += self._transform(each[:scored]) * (1 if name == "kept" else -1)
        self.first_score = scores[0] if self.first_score is None else self.first_score
        self.has_varied = self.has_varied or bool((scores != self.first_score).any())
        self.pending.append((rows[:scored], scores - self.first_score))
        fitness = scores - self.method.area_weight * areas[:scored]
        top = int(fitness.argmax())
        if float(fitness[top]) > self.best:
            self.best = float(fitness[top])
            self.best_trial, self.evidence = population[top : top + 1], {"area": float(areas[top])}
            self.evidence |= {name: float(each[top]) for name, each in by_role.items()}
        self.count += scored
        self.trace.append((self.count, self.best, float(fitness.mean())))
        return fitness

    def _score(
        self, population: evolution.Population, image: Image, baseline: Image, least: int
    ) -> tuple[Float[Tensor, " m"], Tensor, Tensor]:
        """Return scores, rows and areas of the masks that could be scored."""
        lot, start = self.encoding.make_masks(population), 0
        rows = [population.new_zeros(0, 1, self.encoding.numbers)]
        scores, areas = [population.new_zeros(0)], [population.new_zeros(0)]
        lots = self._fold_meanwhile(lot)
        for part, masks, values in loop.score_masked(self.box, image, self.target, lots, baseline, least=least):
            scores.append(values.cpu().double())
            rows.append(self.encoding.make_rows(population[start : start + len(part)]))
            areas.append(masks.mean((1, 2)).cpu().double())
            start += len(part)
        return torch.cat(scores), torch.cat(rows), torch.cat(areas)

    def _fold_meanwhile(self, lot: Lot) -> Iterator[Lot]:
        """Yield a lot, and fold the generation before it while the box is busy."""
        yield lot
        self._fold()

    def _fold(self) -> None:
        while self.pending:
            self.regression.add(*self.pending.pop(0))

    def _transform(self, scores: Scores) -> Scores:
        """T, logarithmic for the probability of a class."""
        if self.method.variant == "r0" or not isinstance(self.target, int):
            return scores
        return 1 - (scores.clamp(min=0) + EPS).log() / math.log(EPS)

    def estimate(self, population: evolution.Population | None) -> Estimate:
        """Fold all masks so far; for r0, its population."""
        self._fold()
        mask = self.encoding.make_masks(self.best_trial).rasterise(self.image)[0].float().cpu()
        evidence = self.evidence | {"mask": mask, "search": tuple(self.trace)}
        if population is None:
            return replace(self.regression.estimate(), evidence=evidence)
        rows = self.encoding.make_rows(population)
        return Estimate(self.encoding.paint(rows.mean(0))[0].float() * self.has_varied, evidence=evidence)
