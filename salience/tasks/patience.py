"""How long an explanation may take when nobody says what it may cost, and what more time would give."""

from __future__ import annotations

import math
import time
from typing import Any

from salience import registry
from salience.engine.query.run import Run
from salience.estimates import Sampler
from salience.types import OpenBox

SECONDS = 10.0


def find_patience(method: Any, budget: Any) -> float | None:
    """Return after how many seconds a method that samples stops; None where a budget or a number of masks is given.

    >>> from salience.methods.rise import Rise
    >>> find_patience(Rise(), None), find_patience(Rise(masks=4000), None), find_patience(Rise(), "60s")
    (10.0, None, None)
    """
    samples = isinstance(method, Sampler) and registry.find_need(type(method)) is not OpenBox
    given = budget is not None or any(getattr(method, name, None) is not None for name in ("masks", "designs"))
    return SECONDS if samples and not given else None


def describe_stop(run: Run, stability: float | None) -> str:
    """Say what a run that was cut short has reached, and what the rest of its passes would cost and give.

    The stability to come is that of longer tests (Spearman and Brown): k times the passes turn s into ks / (1 + (k − 1) s).

    >>> describe_stop(Run(passes=100, expected=400), stability=0.5)
    'stopped after 0 s with 100 of 400 passes, stability 0.50: a budget of 1s would make them all (stability about 0.80)'
    """
    seconds = time.monotonic() - run.started
    known = run.expected is not None and run.expected > run.passes
    more = run.expected / max(1, run.passes) if known and run.expected else 3.0
    reached = to_come = ""
    if stability is not None and 0 < stability < 1:
        reached = f", stability {stability:.2f}"
        to_come = f" (stability about {more * stability / (1 + (more - 1) * stability):.2f})"
    done = f"{run.passes:,} of {run.expected:,} passes" if known else f"{run.passes:,} passes"
    rest = "would make them all" if known else "would make three times as many"
    return f"stopped after {seconds:.0f} s with {done}{reached}: a budget of {math.ceil(more * seconds)}s {rest}{to_come}"
