"""Cache how a box scored each mask, so that another target of the same image needs no further passes.

A mask is known by its content (grid, edges, feature map), so methods whose masks depend on the target share what
happens to be alike, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from hashlib import blake2b

import torch
from torch import Tensor

from salience.engine.perturb.masks import Lot, Mixed
from salience.engine.query.lots import find_lot, passes_alone
from salience.types import BlackBox, Image, PendingScores


class Answers:
    """The scores that boxes gave, a row a mask; the boxes are referenced, so that no other gets the identity of one.

    >>> from salience.boxes import toy
    >>> answers = Answers()
    >>> answers.number(toy.load("colour")), answers.number(toy.load("corner"))
    (0, 1)
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, Tensor] = {}
        self.boxes: list[BlackBox] = []

    def number(self, box: BlackBox) -> int:
        """Return the number that stands for a box."""
        for number, each in enumerate(self.boxes):
            if each is box:
                return number
        self.boxes.append(box)
        return len(self.boxes) - 1


_answers: ContextVar[Answers | None] = ContextVar("salience_answers", default=None)


@contextmanager
def share_scores(answers: Answers | None = None) -> Iterator[None]:
    """Cache all scores computed inside; `answers` may hold earlier ones, and takes the new ones.

    >>> from salience.boxes import toy
    >>> from salience.methods.occlusion import Occlusion
    >>> with share_scores(answers := Answers()):
    ...     saliency = Occlusion(window=16, stride=16)(toy.load("colour"), toy.picture(), 0)
    >>> len(answers.rows)
    4
    """
    token = _answers.set(Answers() if answers is None else answers)
    try:
        yield
    finally:
        _answers.reset(token)


class ScoreCache:
    """The cached scores of one box, one image and one baseline; outside `share_scores` nothing is cached.

    >>> from salience.boxes import toy
    >>> with share_scores():
    ...     cache = ScoreCache(toy.load("colour"), toy.picture(), torch.zeros(3, 32, 32))
    >>> cache.known
    0
    """

    def __init__(self, box: BlackBox, image: Image, baseline: Image) -> None:
        self.answers = _answers.get()
        self.known = 0  # how many of the last part's scores were in the cache
        self.lot = find_lot(box) if passes_alone(box) else 1  # asking others may be dear
        if self.answers is not None:
            self.about = repr((self.answers.number(box), box.backend)).encode() + _digest([image, baseline])

    def submit(self, part: Lot, masks: Tensor, ask: Callable[[Lot, Tensor], PendingScores]) -> PendingScores:
        """Submit a part of a lot: known scores come from the cache, the others from the box."""
        self.known = 0
        if self.answers is None:
            return ask(part, masks)
        keys = [self.about + key for key in _keys(part)]
        missing = {index // self.lot for index, key in enumerate(keys) if key not in self.answers.rows}
        new = [index for index in range(len(keys)) if index // self.lot in missing]  # whole lots, as ever
        if new:
            asked = part[new] if isinstance(part, Mixed) else part  # others change an image by their masks alone
            for index, row in zip(new, ask(asked, masks[new])(), strict=True):
                self.answers.rows.setdefault(keys[index], row.clone())
        self.known = len(keys) - len(new)
        rows = torch.stack([self.answers.rows[key] for key in keys])
        return lambda: rows


def _keys(part: Lot) -> list[bytes]:
    values = [getattr(part, each.name) for each in fields(part)]  # type: ignore[arg-type]  # every lot is a dataclass
    plain = repr((type(part).__name__, [each for each in values if not isinstance(each, torch.Tensor)])).encode()
    tensors = [each for each in values if isinstance(each, torch.Tensor)]
    return [plain + _digest([each[index] for each in tensors]) for index in range(len(part))]


def _digest(values: list[Tensor]) -> bytes:
    digest = blake2b(digest_size=16)
    for value in values:
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()
