"""Several explanations at once: what they ask of the box goes to it in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from inspect import ismethod
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from torch import Tensor

from salience.types import BlackBox, Images, Probabilities

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """Images to be scored, or something else that the box is to do."""

    images: Images | None
    deed: Callable[[], Any] | None
    told: Future[Any] = field(default_factory=Future)


Post = SimpleQueue[Question | BaseException | None]  # None: somebody has done their work


class Merged:
    """Stands for the box in one of several explanations: asks, and waits until all others ask too."""

    def __init__(self, box: BlackBox, post: Post) -> None:
        self._box, self._post = box, post

    def __getattr__(self, name: str) -> Any:
        """Give what the box has; what it does is done in the thread of the box, and for nobody else."""
        found = getattr(self._box, name)
        return (lambda *args, **options: self._asked(None, partial(found, *args, **options))) if ismethod(found) else found

    def __call__(self, images: Images) -> Probabilities:
        """Return the scores of these images alone."""
        scores: Probabilities = self._asked(images)
        return scores

    def _asked(self, images: Images | None, deed: Callable[[], Any] | None = None) -> Any:
        question = Question(images, deed)
        self._post.put(question)
        return question.told.result()


def together(box: BlackBox, deeds: Sequence[Callable[[BlackBox], T]]) -> list[T]:
    """Do all deeds, each in a thread with a box of its own that asks `box` as soon as every thread has a question.

    Whoever fails first ends the others, and what it raised is raised here. The box runs in the caller's thread.
    """
    post: Post = SimpleQueue()

    def work(deed: Callable[[BlackBox], T]) -> T:
        problem: BaseException | None = None
        try:
            return deed(Merged(box, post))
        except BaseException as raised:
            problem = raised
            raise
        finally:
            post.put(problem)

    with ThreadPoolExecutor(len(deeds)) as pool:
        found = [pool.submit(copy_context().run, work, deed) for deed in deeds]
        serve(box, post, len(deeds))
    return [each.result() for each in found]


def serve(box: BlackBox, post: Post, working: int) -> None:
    """Answer until nobody works any more, and raise what went wrong first."""
    problem: BaseException | None = None
    asked: list[Question] = []
    while working:
        try:
            word = post.get()
            if not isinstance(word, Question):
                working, problem = working - 1, problem or word
            elif word.deed is not None:
                answer(partial(done, word.deed), [word], problem)
            else:
                asked.append(word)
            if asked and (problem is not None or len(asked) == working):
                now, asked = asked, []
                answer(partial(scored, box, [each.images for each in now]), now, problem)
        except KeyboardInterrupt as stopped:
            problem = stopped
    if problem is not None:
        raise problem


def scored(box: BlackBox, lots: Sequence[Any]) -> Sequence[Tensor]:
    """Score all in one batch, and give back a lot for a lot."""
    return box(torch.cat(list(lots))).split([len(each) for each in lots])  # type: ignore[no-any-return]


def done(deed: Callable[[], Any]) -> Sequence[Any]:
    """Do what one alone asked for."""
    return [deed()]


def answer(deed: Callable[[], Sequence[Any]], asked: Sequence[Question], problem: BaseException | None) -> None:
    """Give each asker a share of what is done, or pass a problem on: it is each asker's to deal with."""
    try:
        shares = deed() if problem is None else ()
    except BaseException as raised:  # noqa: BLE001  # also Ctrl-C: whoever waits must hear of it
        problem = raised
    for number, question in enumerate(asked):
        if problem is None:
            question.told.set_result(shares[number])
        else:
            question.told.set_exception(problem)
    if isinstance(problem, KeyboardInterrupt):
        raise problem
