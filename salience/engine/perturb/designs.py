"""How the random numbers behind a stack of masks are sampled, so that fewer masks give the same error.

    independent   every cell of every mask by itself, as RISE has it
    antithetic    pairs: the second mask keeps what the first hides, under the same shift; needs p = 0.5
    stratified    the numbers of kept cells in a block are one from each of its equal shares of the binomial distribution
    sobol         a block is a scrambled Sobol sequence, cells and shifts (Owen 1997): in it each cell is kept equally often

Each mask by itself has the same distribution in all designs, so no expectation changes. Blocks are independent of each
other, and errors are estimated from them (`jackknife.Groups`).
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import seeding
from salience.errors import SettingError

Design = Literal["independent", "antithetic", "stratified", "sobol"]
BLOCK = 32  # masks that may depend on each other
SOBOL = 256  # the same for a sequence: of few points, some cells would always go together


def sample(
    design: Design, count: int, side: int, keep: float, generator: torch.Generator
) -> tuple[Float[Tensor, "n s s"], Float[Tensor, "n 2"]]:
    """Sample cells, 0 or 1, and shifts, 0…1, of whole blocks of masks.

    >>> cells, shifts = sample("antithetic", 32, 7, 0.5, seeding.generator(0, "example"))
    >>> bool((cells[0] + cells[1] == 1).all())  # the second mask is the complement of the first
    True
    """
    cells, shifts = _SAMPLERS[expect_design(design, keep)](count, side, keep, generator)
    return cells.double(), shifts


@lru_cache(maxsize=8)
def sample_at(
    design: Design, count: int, side: int, keep: float, seed: int, address: tuple[Hashable, ...]
) -> tuple[Float[Tensor, "n s s"], Float[Tensor, "n 2"]]:
    """Sample by an address, and keep the last few stacks for callers that take them piece by piece.

    >>> cells, _ = sample_at("independent", 32, 7, 0.5, 0, ("example",))
    >>> cells.shape
    torch.Size([32, 7, 7])
    """
    return sample(design, count, side, keep, seeding.generator(seed, *address))


def expect_design(design: Design, keep: float) -> Design:
    """Refuse a design that does not exist, or not with this keep probability.

    >>> expect_design("antithetic", keep=0.3)
    Traceback (most recent call last):
    salience.errors.SettingError: expected keep=0.5 for antithetic pairs, got 0.3: a complement keeps 1 - keep
    """
    if design not in _SAMPLERS:
        raise SettingError(f"expected a design, one of {', '.join(get_args(Design))}, got {design!r}")
    if design == "antithetic" and keep != 0.5:
        raise SettingError(f"expected keep=0.5 for antithetic pairs, got {keep}: a complement keeps 1 - keep")
    return design


def _sample_independent(count: int, side: int, keep: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    cells = torch.rand(count, side, side, generator=generator) < keep
    return cells, torch.rand(count, 2, generator=generator)


def _sample_antithetic(count: int, side: int, keep: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    cells, shifts = _sample_independent(count // 2, side, keep, generator)
    return torch.stack([cells, ~cells], dim=1).flatten(0, 1), shifts.repeat_interleave(2, dim=0)


def _sample_stratified(count: int, side: int, keep: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    blocks = torch.rand(count // BLOCK, BLOCK, generator=generator).argsort(1)  # strata, in random order
    levels = (blocks.flatten() + torch.rand(count, generator=generator)).double() / BLOCK
    kept = torch.searchsorted(_sum_binomial(side**2, keep), levels)
    ranks = torch.rand(count, side**2, generator=generator).argsort(1).argsort(1)
    return (ranks < kept[:, None]).unflatten(1, (side, side)), torch.rand(count, 2, generator=generator)


def _sample_sobol(count: int, side: int, keep: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    seeds = torch.randint(2**62, (count // SOBOL,), generator=generator).tolist()
    engines = (torch.quasirandom.SobolEngine(side**2 + 2, scramble=True, seed=seed) for seed in seeds)
    points = torch.cat([engine.draw(SOBOL) for engine in engines])
    return (points[:, :-2] < keep).unflatten(1, (side, side)), points[:, -2:].clamp(max=1 - 1e-6)


def _sum_binomial(count: int, share: float) -> Float[Tensor, " n"]:
    """Return the distribution function at 0…count-1; a level above the last one means all."""
    k = torch.arange(count + 1, dtype=torch.float64)
    n = torch.tensor(float(count), dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    probabilities = torch.exp(ways + torch.xlogy(k, torch.tensor(share)) + torch.xlogy(n - k, torch.tensor(1 - share)))
    return probabilities.cumsum(0)[:-1]


_SAMPLERS = {
    "independent": _sample_independent,
    "antithetic": _sample_antithetic,
    "stratified": _sample_stratified,
    "sobol": _sample_sobol,
}
