"""From a box, a picture and a method to the record, as it grows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from salience.engine.query.budget import Budget
from salience.engine.query.run import Run, resume_run
from salience.estimates import BatchedMethod, Estimate, Sampler
from salience.explanation import Explanation
from salience.tasks.bands import count_band_passes, has_room, leave_passes
from salience.tasks.patience import describe_stop, find_patience
from salience.tasks.prepare import PreparedPicture, prepare_pictures
from salience.types import BlackBox


def take_last(steps: Iterator[Explanation]) -> Explanation:
    """Go to the end.

    >>> from salience import watch
    >>> import torch
    >>> take_last(watch("toy:colour", torch.rand(3, 32, 32), "rise", budget=64)).passes
    64
    """
    return deque(steps, maxlen=1)[0]


def explain_steps(
    box: BlackBox,
    source: Any,
    method: Any,
    *,
    target: Any,
    budget: Any,
    batch: int | None,
    progress: Any,
    tolerance: float | None = None,
    band_shares: bool = False,
) -> Iterator[Explanation]:
    """Explain one picture, yielding the record as it grows; with a tolerance, until the map stands still.

    With `band_shares` the last record comes once more, with each band's share, where the box has bands and there is room.

    >>> import torch
    >>> from salience.boxes import toy
    >>> from salience.methods.rise import Rise
    >>> how = {"target": "red", "budget": 128, "batch": 64, "progress": None}
    >>> [why.passes for why in explain_steps(toy.load("colour"), torch.rand(3, 32, 32), Rise(), **how)]
    [128]
    """
    run = Run(Budget.of(budget), batch, progress, find_patience(method, budget))
    picture = prepare_pictures(box, [source], method, [target], run)[0]
    passes = count_band_passes(box) if band_shares else 0
    given, run.budget = run.budget, leave_passes(run.budget, passes)
    record: Explanation | None = None
    for record in _explain(method, picture, run, tolerance):
        yield record
    if passes and record is not None and has_room(given, passes, run.passes, record.seconds):
        yield picture.add_bands(record, batch)


def _explain(method: Any, picture: PreparedPicture, run: Run, tolerance: float | None) -> Iterator[Explanation]:
    estimates = _estimate(method, picture)
    trace: list[tuple[int, float | None]] = []  # passes, stability
    began = time.perf_counter()
    while True:
        with resume_run(run):
            estimate = next(estimates, None)
        if estimate is None:
            return
        if isinstance(method, Sampler):
            trace += [(run.passes, estimate.stability)] if not trace or run.passes > trace[-1][0] else []
            estimate = replace(estimate, evidence={**estimate.evidence, "trace": list(trace)})
        if run.cut_short:
            estimate = replace(estimate, notes=(*estimate.notes, describe_stop(run, estimate.stability)))
        record = picture.record(estimate, run.passes, time.perf_counter() - began)
        yield replace(record, budget=f"{max(1, round(time.monotonic() - run.started))}s") if run.cut_short else record
        if tolerance is not None and _is_stable(trace, tolerance):
            return


def _estimate(method: Any, picture: PreparedPicture) -> Iterator[Estimate]:
    box = picture.box
    if isinstance(method, Sampler):
        yield from method.watch(box, picture.image, picture.target)
    elif isinstance(method, BatchedMethod):
        yield from method.many(box, picture.image[None], [picture.target])
    else:
        yield Estimate(method(box, picture.image, picture.target))


def _is_stable(trace: list[tuple[int, float | None]], tolerance: float) -> bool:
    """Say whether the halves agreed well enough twice in a row: once may be luck."""
    return len(trace) > 1 and all(stability is not None and stability >= 1 - tolerance for _, stability in trace[-2:])
