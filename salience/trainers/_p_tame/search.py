"""Which loss weights suit a box: fits with weights sampled at random, compared by ROAD on held-out pictures.

P-TAME's authors search by Bayesian optimisation over whole trainings; the ranges are theirs, they are sampled at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from salience.engine import seeding
from salience.engine.training.loop import Loop, Tell
from salience.trainers._p_tame.fitted import Fitted
from salience.trainers._p_tame.settings import PTameSettings

Learn = Callable[[PTameSettings, Path, Tell], Fitted]
"""Trains once, in a folder."""

POWERS, BORDERS = (0.3, 0.5, 1.0), (0.0, 0.3, 0.5)


def search_weights(how: PTameSettings, learn: Learn, loop: Loop, out: Path, tell: Tell) -> Fitted:
    """Fit with the given weights, then with sampled ones; return the fit with the best ROAD at its end."""
    tries = [how, *(sample_weights(how, loop.seed, trial) for trial in range(1, how.search + 1))]

    def report(trial: int) -> Tell:
        return lambda step, steps, row: tell(trial * steps + step, len(tries) * steps, row)

    fits = [learn(settings, out / f"trial-{trial}", report(trial)) for trial, settings in enumerate(tries)]
    return max(fits, key=lambda fit: next(row["road"] for row in reversed(fit.history) if "road" in row))


def sample_weights(how: PTameSettings, seed: int, trial: int) -> PTameSettings:
    """Sample weights: λ_ce + λ_area from 0.85 to 1, power and border from three values each, decay over seven decades."""
    source = seeding.generator(seed, "search", trial)
    total, share, decay = torch.rand(3, generator=source, dtype=torch.float64).tolist()
    power, border = (int(torch.randint(3, (), generator=source)) for _ in range(2))
    total = 0.85 + 0.15 * total
    changes = {"ce": total * share, "area": total * (1 - share), "decay": 10 ** (-7 + 7 * decay)}
    return replace(how, search=0, power=POWERS[power], border=BORDERS[border], **changes)
