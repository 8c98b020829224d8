"""Several explanations at once: what they ask of the box goes to it in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from inspect import ismethod
from queue import SimpleQueue
from threading import Event
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

    apart = False  # it waits for others, and they for it

    def __init__(self, box: BlackBox, post: Post, stopped: Event) -> None:
        self._box, self._post, self._stopped = box, post, stopped

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
        while not wait([question.told], timeout=0.2).done:
            if self._stopped.is_set():  # nobody will answer any more
                raise CancelledError
        return question.told.result()


def together(box: BlackBox, deeds: Sequence[Callable[[BlackBox], T]]) -> list[T]:
    """Do all deeds, each in a thread with a box of its own that asks `box` as soon as every thread has a question.

    Whoever fails first ends the others, and what it raised is raised here. The box runs in the caller's thread.
    """
    post: Post = SimpleQueue()
    stopped = Event()

    def work(deed: Callable[[BlackBox], T]) -> T:
        try:
            found = deed(Merged(box, post, stopped))
        except BaseException as raised:
            post.put(raised)
            raise
        post.put(None)
        return found

    with ThreadPoolExecutor(len(deeds)) as pool:
        found = [pool.submit(copy_context().run, work, deed) for deed in deeds]
        try:
            serve(box, post, len(deeds))
        except BaseException:
            stopped.set()
            raise
    return [each.result() for each in found]


def serve(box: BlackBox, post: Post, working: int) -> None:
    """Answer until nobody works any more; raise what somebody could not deal with."""
    asked: list[Question] = []
    while working:
        word = post.get()
        if isinstance(word, BaseException):
            raise word
        if word is None:
            working -= 1
        elif word.deed is not None:
            answer(partial(single, word.deed), [word])
        else:
            asked.append(word)
        if asked and len(asked) == working:
            answer(partial(scored, box, [each.images for each in asked]), asked)
            asked = []


def scored(box: BlackBox, lots: Sequence[Any]) -> Sequence[Tensor]:
    """Score all in one batch, and give back a lot for a lot."""
    images = torch.cat(list(lots))
    found = box.begin(images)() if getattr(box, "apart", False) else box(images)  # type: ignore[attr-defined]
    return found.split([len(each) for each in lots])  # type: ignore[no-any-return]


def single(deed: Callable[[], Any]) -> Sequence[Any]:
    """Do what one alone asked for."""
    return [deed()]


def answer(deed: Callable[[], Sequence[Any]], asked: Sequence[Question]) -> None:
    """Give each asker a share of what is done; an error is each asker's to deal with."""
    try:
        shares = deed()
    except Exception as problem:  # noqa: BLE001  # such as want of memory: then they ask for less
        for question in asked:
            question.told.set_exception(problem)
        return
    for question, share in zip(asked, shares, strict=True):
        question.told.set_result(share)
