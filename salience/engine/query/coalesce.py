"""Several explanations at once: what they ask of the box goes to it in one batch.

Where the box computes apart they are two groups, so that one makes its next batch while the other's is scored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from inspect import ismethod
from itertools import chain
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

import torch
from torch import Tensor

from salience.engine.query.ask import find_blending
from salience.engine.query.score_cache import PendingScores
from salience.types import BlackBox, Image, Images, Masks, Probabilities

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """Images to be scored, or masks by a way of their own, or something else that the box is to do."""

    group: int
    shown: Images | Masks | None
    task: Callable[[], Any] | None
    way: Callable[[Any], PendingScores] | None
    told: Future[Any] = field(default_factory=Future)


Begun = tuple[Sequence[Question], Callable[[], Sequence[Any]]]
Post = SimpleQueue[Question | BaseException | int]  # a number: somebody of that group has done their work


class Merged:
    """Stands for the box in one of several explanations: asks, and waits until all others ask too."""

    apart = False  # it waits for others, and they for it

    def __init__(self, box: BlackBox, group: int, post: Post, stopped: Event) -> None:
        self._box, self._group, self._post, self._stopped = box, group, post, stopped

    def __getattr__(self, name: str) -> Any:
        """Give what the box has; what it does is done in the thread of the box, and for nobody else."""
        found = getattr(self._box, name)
        return (lambda *args, **options: self._asked(None, partial(found, *args, **options))) if ismethod(found) else found

    def __call__(self, images: Images) -> Probabilities:
        """Return the scores of these images alone."""
        scores: Probabilities = self._asked(images)
        return scores

    def submit_blended(self, ahead: Image, behind: Image) -> Callable[..., PendingScores] | None:
        """Return what scores the blends of two images by masks, where the box blends by itself."""
        way = find_blending(self._box, ahead, behind)
        if way is None:
            return None

        def ask(masks: Masks, **beside: Any) -> PendingScores:
            scores = self._asked(masks, way=partial(way, **beside))
            return lambda: scores

        return ask

    def _asked(
        self,
        shown: Images | Masks | None,
        task: Callable[[], Any] | None = None,
        way: Callable[[Any], PendingScores] | None = None,
    ) -> Any:
        question = Question(self._group, shown, task, way)
        self._post.put(question)
        while not wait([question.told], timeout=0.2).done:
            if self._stopped.is_set():  # nobody will answer any more
                raise CancelledError
        return question.told.result()


def groups(box: BlackBox, many: int) -> int:
    """Say into how many groups so many explanations fall."""
    return min(2, many) if getattr(box, "apart", False) else 1


def together(box: BlackBox, tasks: Sequence[Callable[[BlackBox], T]]) -> list[T]:
    """Do all tasks, each in a thread with a box of its own; `box` is asked as soon as all of a group have a question.

    Whoever fails first ends the others, and what it raised is raised here. The box runs in the caller's thread.
    """
    post: Post = SimpleQueue()
    stopped = Event()
    count = groups(box, len(tasks))

    def work(number: int) -> T:
        try:
            found = tasks[number](Merged(box, number % count, post, stopped))
        except BaseException as raised:
            post.put(raised)
            raise
        post.put(number % count)
        return found

    with ThreadPoolExecutor(len(tasks)) as pool:
        found = [pool.submit(copy_context().run, work, number) for number in range(len(tasks))]
        try:
            serve(box, post, [len(tasks[first::count]) for first in range(count)])
        except BaseException:
            stopped.set()
            raise
    return [each.result() for each in found]


def serve(box: BlackBox, post: Post, working: list[int]) -> None:
    """Answer until nobody works any more; raise what somebody could not deal with."""
    asked: list[list[Question]] = [[] for _ in working]
    begun = deque[list[Begun]]()  # at most one of a group
    try:
        while any(working):
            if len(begun) == sum(map(bool, working)):  # all wait
                for lot in begun.popleft():
                    answer(*lot)
                continue
            word = post.get()
            if isinstance(word, BaseException):
                raise word
            if isinstance(word, Question) and word.task is not None:
                answer([word], partial(single, word.task))
                continue
            group = word if isinstance(word, int) else word.group
            if isinstance(word, int):
                working[group] -= 1
            else:
                asked[group].append(word)
            if asked[group] and len(asked[group]) == working[group]:
                begun.append(began(box, asked[group]))
                asked[group] = []
    finally:
        for lot in chain(*begun):  # it ends while the box is at work on images that nobody holds then
            answer(*lot)


def began(box: BlackBox, asked: Sequence[Question]) -> list[Begun]:
    """Begin to score: what has a way of its own by itself, the rest in one batch."""
    lots = [[each] for each in asked if each.way], [each for each in asked if not each.way]
    return [(lot, started(box, lot)) for lot in (*lots[0], lots[1]) if lot]


def started(box: Any, asked: Sequence[Question]) -> Callable[[], Sequence[Tensor]]:
    """Begin to score all in one batch; what is returned waits, and gives back a lot for a lot."""
    lots: list[Any] = [each.shown for each in asked]
    sizes = [len(each) for each in lots]
    way = asked[0].way or (box.submit if getattr(box, "apart", False) else None)
    if way is None:
        return lambda: box(joined(lots)).split(sizes)
    try:
        waited = way(joined(lots))
    except Exception as problem:  # noqa: BLE001  # it is the askers' to deal with
        return partial(failed, problem)
    return lambda: waited().split(sizes)


def joined(lots: Sequence[Tensor]) -> Tensor:
    """Make one batch; a lot alone is not copied, for its asker leaves it as it is until it is answered."""
    return lots[0] if len(lots) == 1 else torch.cat(list(lots))


def failed(problem: Exception) -> Sequence[Any]:
    """Raise, later."""
    raise problem


def single(task: Callable[[], Any]) -> Sequence[Any]:
    """Do what one alone asked for."""
    return [task()]


def answer(asked: Sequence[Question], task: Callable[[], Sequence[Any]]) -> None:
    """Give each asker a share of what is done; an error is each asker's to deal with."""
    try:
        shares = task()
    except Exception as problem:  # noqa: BLE001  # such as want of memory: then they ask for less
        for question in asked:
            question.told.set_exception(problem)
        return
    for question, share in zip(asked, shares, strict=True):
        question.told.set_result(share)
