"""What is explained: a class by index or name, the predicted one, a contrast of two, or a function of the scores."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from salience.case import Sample
from salience.errors import TargetError, UnknownName, show, translate
from salience.types import Probabilities, Scores, Target


def pick(target: Target, probabilities: Probabilities) -> Scores:
    """Pick the target's score from each row of probabilities.

    >>> pick((0, 2), torch.tensor([[0.7, 0.2, 0.1]]))  # a contrast
    tensor([0.6000])
    """
    if isinstance(target, (int, tuple)):
        wanted = (target,) if isinstance(target, int) else target
        for index in wanted:
            if not 0 <= index < probabilities.shape[1]:
                raise TargetError(f"expected a class from 0 to {probabilities.shape[1] - 1}, got {index}")
        first = probabilities[:, wanted[0]]
        return first if len(wanted) == 1 else first - probabilities[:, wanted[1]]
    with translate(TargetError, "a target function that takes a batch of scores", "mend it"):
        scores: Any = target(probabilities)
    if not isinstance(scores, torch.Tensor) or scores.shape != probabilities.shape[:1] or not scores.is_floating_point():
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise TargetError(f"expected a target function to return one score a row, shape ({len(probabilities)},), got {got}")
    if not torch.isfinite(scores).all():
        raise TargetError("expected a target function to return finite scores, got NaN or infinity: mend it")
    return scores


def resolve(wanted: Any, probabilities: Sequence[float], classes: Sequence[str]) -> Target:
    """Resolve what a user gives into a target.

    `wanted` is None or "predicted", "runner-up", an index, a class name (any of its comma-separated synonyms, in any
    case), a pair of these for a contrast, or a callable, which is returned as it is.

    >>> resolve("runner-up", [0.7, 0.2, 0.1], ["cat", "dog", "fox"])
    1
    """
    if isinstance(wanted, (tuple, list)):
        if len(wanted) != 2:
            raise TargetError(f"expected a pair of classes for a contrast, got {len(wanted)} of them: give exactly two")
        first, second = (_resolve_class(each, probabilities, classes) for each in wanted)
        return first, second
    if callable(wanted):
        function: Callable[[Probabilities], Scores] = wanted
        return function
    return _resolve_class(wanted, probabilities, classes)


def describe(target: Target, classes: Sequence[str]) -> str:
    """Describe the target in words.

    >>> describe((0, 2), ["cat", "dog", "fox"])
    'cat − fox'
    """
    if isinstance(target, int):
        return classes[target]
    if isinstance(target, tuple):
        return f"{classes[target[0]]} − {classes[target[1]]}"
    return getattr(target, "__name__", type(target).__name__)


def _resolve_class(wanted: Any, probabilities: Sequence[float], classes: Sequence[str]) -> int:
    ranked = sorted(range(len(probabilities)), key=lambda k: (-probabilities[k], k))
    if wanted is None or (isinstance(wanted, str) and wanted in ("predicted", "pred")):
        return ranked[0]
    if isinstance(wanted, str) and wanted == "runner-up":
        if len(ranked) < 2:
            raise TargetError("expected a box with two classes or more for the runner-up, got one: name the class")
        return ranked[1]
    if isinstance(wanted, str) and (wanted in classes or not wanted.lstrip("-").isdigit()):
        return _find_name(wanted, classes)
    try:
        index: int | None = int(wanted) if isinstance(wanted, str) else operator.index(wanted)  # 2.7 is no class
    except Exception:  # noqa: BLE001  # an array, or an object that raises
        index = None
    if index is None or isinstance(wanted, bool):
        raise TargetError(f"expected a class index, name or pair as target, got {show(wanted)}") from None
    if not 0 <= index < len(classes):
        raise TargetError(
            f"expected a class from 0 to {len(classes) - 1}, got {show(index)}: `salience list classes` names them"
        )
    return index


def find_classes(name: str, classes: Sequence[str]) -> tuple[int, ...]:
    """List the classes of a name: the whole name, or one of its comma-separated synonyms, in any case.

    >>> find_classes("Tabby", ["tabby, tabby cat", "tiger cat"])
    (0,)
    """
    return _index_names(tuple(classes)).get(name.strip().lower(), ())


def match_labels(sample: Sample, classes: Sequence[str]) -> tuple[int, ...]:
    """Match a sample's labels to a box's classes: by index, or by name as a target is; other labels are left out.

    A name that several classes share is a right answer for each of them.

    >>> match_labels(Sample("a", "a.jpg", labels=("dog", 0)), ["cat", "dog", "fox"])
    (1, 0)
    """
    matches: list[int] = []
    for label in sample.labels:
        named = find_classes(label, classes) if isinstance(label, str) else ()
        numbered = not named and str(label).isdecimal() and int(label) < len(classes)
        matches += (int(label),) if numbered else named
    return tuple(dict.fromkeys(matches))


@lru_cache(maxsize=16)
def _index_names(classes: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    indices: dict[str, tuple[int, ...]] = {}
    for index, full in enumerate(classes):
        for name in {part.strip().lower() for part in (full, *full.split(","))}:
            indices[name] = (*indices.get(name, ()), index)
    return indices


def _find_name(wanted: str, classes: Sequence[str]) -> int:
    matches = find_classes(wanted, classes)
    if len(matches) == 1:
        return matches[0]
    if matches:
        which = ", ".join(f"{index} ({classes[index]})" for index in matches)
        raise TargetError(f"expected one class called {wanted!r}, got {len(matches)}: give its index, one of {which}")
    raise UnknownName.of("class", wanted, [part.strip() for full in classes for part in full.split(",")])
