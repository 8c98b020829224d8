"""Several pictures at once, or several targets of one picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from salience import registry
from salience.engine.query import coalesce
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.budget import Budget
from salience.engine.query.run import Progress, Run, resume_run
from salience.engine.query.score_cache import share_scores
from salience.explanation import Explanation
from salience.tasks.explain_one import explain_steps, take_last
from salience.tasks.prepare import PreparedPicture, prepare_pictures
from salience.types import BatchedMethodProtocol, BlackBox, Sampler

AT_ONCE = 32  # pictures that are read, prepared and scored together
SHARED = {"cpu": 4}  # pictures whose masks share batches; elsewhere 8; half of it for a box that computes apart


def explain_pictures(
    box: BlackBox, sources: Sequence[Any], method: Any, wanted: Sequence[Any], **given: Any
) -> list[Explanation]:
    """Explain several pictures, together where the method does that and nobody bounds each."""
    if isinstance(method, Sampler) or not isinstance(method, BatchedMethodProtocol) or given["budget"] is not None:
        return _explain_each(box, sources, method, wanted, **given)
    done: list[Explanation] = []
    for begin in range(0, len(sources), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        run = Run(Budget(), given["batch"], given["progress"])
        cases = prepare_pictures(box, sources[part], method, wanted[part], run)
        done += _explain_batch(box, torch.stack([case.image for case in cases]), method, cases, run)
    return done


def explain_targets(box: BlackBox, source: Any, method: Any, wanted: Sequence[Any], **given: Any) -> list[Explanation]:
    """Explain one picture for several targets, which share what passes they can."""
    if isinstance(method, BatchedMethodProtocol) and not isinstance(method, Sampler) and given["budget"] is None:
        run = Run(Budget(), given["batch"], given["progress"])
        cases = prepare_pictures(box, [source], method, wanted, run)
        return _explain_batch(box, cases[0].image[None], method, cases, run)
    with share_scores():
        return [_explain_one(box, source, method, target, **given) for target in wanted]


def _explain_one(box: BlackBox, source: Any, method: Any, target: Any, **given: Any) -> Explanation:
    return take_last(explain_steps(box, source, method, target=target, **given))


def _explain_batch(
    box: BlackBox, images: Tensor, method: Any, cases: Sequence[PreparedPicture], run: Run
) -> list[Explanation]:
    began = time.perf_counter()
    with resume_run(run):
        found = method.many(box, images, [case.target for case in cases])
    seconds, passes = (time.perf_counter() - began) / len(cases), run.passes // len(images)
    return [case.record(one, passes, seconds) for case, one in zip(cases, found, strict=True)]


def _explain_each(
    box: BlackBox, sources: Sequence[Any], method: Any, wanted: Sequence[Any], **given: Any
) -> list[Explanation]:
    """Explain each picture for itself; some at a time share batches, unless a batch or the seconds of each are given."""
    alone = given["batch"] is not None or Budget.of(given["budget"]).seconds is not None
    alone |= (
        isinstance(method, BatchedMethodProtocol) or registry.need_of(type(method)) is not BlackBox
    )  # they look inside something
    few = 1 if alone else SHARED.get(box.device.type, 8) // coalesce.groups(box, 2)
    pairs, done = list(zip(sources, wanted, strict=True)), list[Explanation]()
    while pairs:
        some = pairs[: few if done else 1]  # the first one finds the best size of a batch
        pairs = pairs[len(some) :]
        if len(some) > 1:
            done += _explain_shared(box, some, method, **given)
        else:
            done += [_explain_one(box, source, method, target, **given) for source, target in some]
    return done


def _explain_shared(box: BlackBox, pairs: Sequence[tuple[Any, Any]], method: Any, **given: Any) -> list[Explanation]:
    """Explain some pictures at once; each asks for its part of a batch."""
    told = SummedProgress(given["progress"], len(pairs))
    share = max(1, BatchSize.of(box).size * coalesce.groups(box, len(pairs)) // len(pairs))

    def one(number: int, asked: BlackBox) -> Explanation:
        source, target = pairs[number]
        return _explain_one(asked, source, method, target, **given | {"progress": told.part(number), "batch": share})

    began = time.perf_counter()
    found = coalesce.together(box, [partial(one, number) for number in range(len(pairs))])
    seconds = (time.perf_counter() - began) / len(pairs)
    return [replace(each, seconds=seconds) for each in found]


class SummedProgress:
    """Report the progress of several explanations as that of one."""

    def __init__(self, progress: Progress | None, count: int) -> None:
        self.progress, self.lock = progress, Lock()
        self.made: list[tuple[int, int | None]] = [(0, None)] * count

    def part(self, number: int) -> Progress | None:
        """Give what one of them reports to."""
        return None if self.progress is None else lambda made, expected: self.tell(number, made, expected)

    def tell(self, number: int, made: int, expected: int | None) -> None:
        """Add up."""
        assert self.progress is not None  # noqa: S101  # or nobody would have been told
        with self.lock:
            self.made[number] = made, expected
            all_ = [each for _, each in self.made if each is not None]
            self.progress(sum(one for one, _ in self.made), sum(all_) if len(all_) == len(self.made) else None)
