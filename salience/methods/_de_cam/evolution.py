"""Differential evolution. Storn and Price, Journal of Global Optimization 1997; Tanabe and Fukunaga, L-SHADE, CEC 2014.

A search maximises over the unit cube. `ask` gives the trials of a generation, `tell` takes their values, so that a whole
generation can be scored in batches. The random numbers of a generation depend on the seed and its number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from salience.engine import seeding

Population = Float[Tensor, "n d"]
Values = Float[Tensor, " n"]
Start = Callable[[int, int, torch.Generator], Population]
"""Samples a first population of so many vectors of so many numbers."""


class Search(ABC):
    """A population with ask and tell; a trial replaces its parent if it is no worse, up to `tie`.

    Values within `tie` of each other count as equal, so that the last digits of a sum decide nothing.
    """

    def __init__(self, population: Population, seed: int, tie: float = 0.0) -> None:
        self.population = self.trials = population.double()
        self.values = torch.full((len(population),), -math.inf, dtype=torch.float64)
        self.seed, self.tie, self.generation = seed, tie, 0

    @abstractmethod
    def breed(self, generator: torch.Generator) -> Population:
        """Make a trial for each of the population."""

    def ask(self) -> Population:
        """Return what to score next: at first the population itself."""
        if self.generation:
            self.trials = self.breed(seeding.generator(self.seed, "evolve", self.generation))
        return self.trials

    def order(self) -> Int[Tensor, " n"]:
        """Sort the population, the best first; equals by their number."""
        order = self.values.argsort(descending=True, stable=True)
        group = torch.zeros_like(order)
        group[order[1:]] = (-self.values[order].diff() > self.tie).cumsum(0)
        return group.argsort(stable=True)

    def tell(self, values: Values) -> None:
        """Take the values of the trials, or of as many as could be scored; then select."""
        scored = len(values)
        won = values >= self.values[:scored] - self.tie
        self.population = torch.cat(
            [torch.where(won[:, None], self.trials[:scored], self.population[:scored]), self.population[scored:]]
        )
        self.values = torch.cat([torch.maximum(values, self.values[:scored]), self.values[scored:]])
        self.generation += 1


class Classic(Search):
    """DE/rand/1/bin: v = x_r1 + F (x_r2 − x_r3), crossed with the parent at rate CR."""

    def __init__(self, population: Population, seed: int, factor: float = 0.5, rate: float = 0.9, tie: float = 0.0) -> None:
        super().__init__(population, seed, tie)
        self.factor, self.rate = factor, torch.full((len(population),), rate, dtype=torch.float64)

    def breed(self, generator: torch.Generator) -> Population:
        """Mutate, repair, cross over."""
        one, two, three = self.population[pick_distinct(len(self.population), generator)].unbind(1)
        return cross_over(self.population, repair(one + self.factor * (two - three), self.population), self.rate, generator)


class Shade(Search):
    """L-SHADE: v = x + F (x_pbest − x) + F (x_r1 − x_r2), with F and CR adapted to what succeeded.

    x_pbest is one of the best tenth, x_r2 also one of the parents that were replaced (the archive). A generation with
    successes writes the weighted Lehmer means of its F and CR into one of six memories, from which later ones sample. The
    population shrinks linearly to four over `total` values. Departs from the paper: memories are kept to two decimals,
    for through them the last digits of a score would grow, generation by generation, until the search is another one;
    the population begins at any size.
    """

    MEMORIES, ARCHIVE, LEAST, BEST = 6, 2.6, 4, 0.1

    def __init__(self, population: Population, seed: int, total: int, tie: float = 0.0) -> None:
        super().__init__(population, seed, tie)
        self.first_size, self.total, self.scored, self.cursor = len(population), total, 0, 0
        self.factors = torch.full((self.MEMORIES,), 0.5, dtype=torch.float64)
        self.rates = self.factors.clone()  # NaN: ended, CR is 0 from then on
        self.archive = self.population[:0]
        self.factor = self.rate = self.values  # of each trial of this generation

    def breed(self, generator: torch.Generator) -> Population:
        """Sample F and CR of each trial, mutate towards one of the best, repair, cross over."""
        x, count = self.population, len(self.population)
        memory = torch.randint(self.MEMORIES, (count,), generator=generator)
        normal = torch.randn(count, generator=generator, dtype=torch.float64)
        self.rate = (self.rates[memory] + 0.1 * normal).nan_to_num(0.0).clamp(0, 1)
        centre = self.factors[memory]
        negative_share = torch.atan(-centre / 0.1) / math.pi + 0.5  # of the Cauchy distribution, which is cut off at 0
        level = negative_share + (1 - negative_share) * torch.rand(count, generator=generator, dtype=torch.float64)
        self.factor = (centre + 0.1 * torch.tan(math.pi * (level - 0.5))).clamp(1e-12, 1)
        best = max(2, round(self.BEST * count))  # they stand in order since the worst were dropped
        towards = x[torch.randint(best, (count,), generator=generator)]
        own, pool = torch.arange(count), torch.cat([x, self.archive])
        one = torch.randint(count - 1, (count,), generator=generator)
        one += one >= own
        two = torch.randint(len(pool) - 2, (count,), generator=generator)
        for excluded in (torch.minimum(own, one), torch.maximum(own, one)):
            two += two >= excluded
        mutant = x + self.factor[:, None] * (towards - x + x[one] - pool[two])
        return cross_over(x, repair(mutant, x), self.rate, generator)

    def tell(self, values: Values) -> None:
        """Take the values, adapt F and CR to the successes, select, and drop the worst."""
        scored = len(values)
        gain = values - self.values[:scored]
        if self.generation and bool((gain > self.tie).any()):
            self._adapt(gain > self.tie, gain)
        super().tell(values)
        self.scored += scored
        size = max(self.LEAST, round(self.first_size + (self.LEAST - self.first_size) * self.scored / self.total))
        kept = self.order()[:size]
        self.population, self.values = self.population[kept], self.values[kept]
        self.archive = self._sample(self.archive, round(self.ARCHIVE * len(self.population)))

    def _adapt(self, won: Tensor, gain: Values) -> None:
        self.archive = torch.cat([self.archive, self.population[: len(won)][won]])
        weight, f, cr = gain[won], self.factor[: len(won)][won], self.rate[: len(won)][won]
        self.factors[self.cursor] = (weight * f**2).sum() / (weight * f).sum()
        ended = bool(self.rates[self.cursor].isnan()) or float(cr.max()) == 0
        self.rates[self.cursor] = math.nan if ended else (weight * cr**2).sum() / (weight * cr).sum()
        self.factors, self.rates = (each.mul(100).round().div(100) for each in (self.factors, self.rates))
        self.cursor = (self.cursor + 1) % self.MEMORIES

    def _sample(self, population: Population, most: int) -> Float[Tensor, "m d"]:
        if len(population) <= most:
            return population
        generator = seeding.generator(self.seed, "evolve", "archive", self.generation)
        return population[torch.randperm(len(population), generator=generator)[:most].sort().values]


class Unevolved(Search):
    """No search: every generation is sampled as the first one was. The baseline for evolution."""

    def __init__(self, population: Population, seed: int, start: Start, tie: float = 0.0) -> None:
        super().__init__(population, seed, tie)
        self.start = start

    def breed(self, generator: torch.Generator) -> Population:
        """Sample anew."""
        count, dimensions = self.population.shape
        return self.start(count, dimensions, generator)


def sample_uniform(count: int, dimensions: int, generator: torch.Generator) -> Population:
    """Sample every number from 0…1."""
    return torch.rand(count, dimensions, generator=generator, dtype=torch.float64)


def sample_binary(count: int, dimensions: int, generator: torch.Generator) -> Population:
    """Sample zeros and ones; each of the population has its own share of ones, between a tenth and nine tenths."""
    share = 0.1 + 0.8 * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    return (torch.rand(count, dimensions, generator=generator, dtype=torch.float64) < share).double()


def pick_distinct(count: int, generator: torch.Generator) -> Int[Tensor, "n 3"]:
    """Pick for each of the population three others, all different."""
    order_keys = torch.rand(count, count, generator=generator, dtype=torch.float64)
    return order_keys.fill_diagonal_(2).argsort(1)[:, :3]


def repair(mutant: Population, parent: Population) -> Population:
    """Put what left 0…1 halfway between its parent and the border: near-binary values stay within reach."""
    low = torch.where(mutant < 0, parent / 2, mutant)
    return torch.where(mutant > 1, (1 + parent) / 2, low)


def cross_over(parent: Population, mutant: Population, rate: Values, generator: torch.Generator) -> Population:
    """Take each number from the mutant at its rate, and one in any case."""
    count, dimensions = parent.shape
    crossed = torch.rand(count, dimensions, generator=generator, dtype=torch.float64) < rate[:, None]
    crossed[torch.arange(count), torch.randint(dimensions, (count,), generator=generator)] = True
    return torch.where(crossed, mutant, parent)
