"""How images are handed to a network: the order of their axes, and as many at once as it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from salience.boxes._graph.quantised import Array
from salience.errors import BoxError

COLOURS = (1, 3)
FEW = 64  # more are a side


class Layout(NamedTuple):
    """How the input of a network is laid out."""

    last: bool  # whether the channels are its last axis
    channels: int | None  # None: open
    size: tuple[int | None, int | None]


def find_layout(shape: Sequence[int | None]) -> Layout:
    """Find out which axis has the channels: the one of 1 or 3, else the one beside a square, else the shorter.

    >>> find_layout((None, 224, 224, 3))
    Layout(last=True, channels=3, size=(224, 224))
    >>> find_layout((4, 13, 64, 64)).channels
    13
    """
    if len(shape) != 4:
        return Layout(last=False, channels=None, size=(None, None))
    _, one, two, three = shape
    last = _has_channels_last(one, two, three)
    return (
        Layout(last=True, channels=three, size=(one, two)) if last else Layout(last=False, channels=one, size=(two, three))
    )


def _has_channels_last(one: int | None, two: int | None, three: int | None) -> bool:
    if one in COLOURS or three in COLOURS:
        return one not in COLOURS
    if None not in (one, two, three) and (one == two) != (two == three):
        return one == two
    few = [each is not None and each <= FEW for each in (one, three)]
    return few == [False, True]


def expect_pictures(path: str, shape: Sequence[int | None] | None, kind: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return the type of a network's pictures; refuse one that takes none. A shape that is not known may be anything.

    >>> expect_pictures("net.onnx", (None, 64), np.dtype("float32"))
    Traceback (most recent call last):
    salience.errors.BoxError: expected a network of pictures (n c h w) in net.onnx, got one that takes rows of numbers ...
    """
    what = "wrap it, before it is exported, in one that takes pictures"
    if kind is None or (kind.kind not in "fiu" and kind.name != "bfloat16"):
        taken = "text" if kind is None or kind.kind in "OUS" else f"numbers of {kind.name}"
    elif shape is None or len(shape) == 4:
        return kind
    else:
        said = ", ".join("n" if each is None else str(each) for each in shape)
        names = {2: "rows of numbers", 5: "volumes (n c d h w)"}
        taken = f"{names.get(len(shape), 'numbers')} of shape ({said})"
    raise BoxError(f"expected a network of pictures (n c h w) in {path}, got one that takes {taken}: {what}")


def has_rows(value: Array, count: int) -> bool:
    """Say whether an array has a row for each of so many images; whole numbers in a line are a shape.

    >>> has_rows(np.zeros((4, 8)), 4), has_rows(np.array([4, 3, 8, 8]), 4)
    (True, False)
    """
    return value.ndim > 0 and len(value) == count and (value.ndim > 1 or value.dtype.kind == "f")


def is_features(value: Array) -> bool:
    """Say whether an array holds features, be they of eight bits; other whole numbers are shapes and places.

    >>> is_features(np.zeros((1, 8, 4, 4), np.uint8)), is_features(np.array([[1, 3]]))
    (True, False)
    """
    return value.ndim > 1 and (value.dtype.kind == "f" or value.itemsize == 1)


def deal(
    run: Callable[..., list[Array]], arrays: Sequence[Array], rows: Sequence[bool], most: int | None, lot: int | None
) -> list[Array]:
    """Run on `most` images at a time, each lot filled up to `lot` with its last image; what has no `rows` goes with each.

    >>> [found] = deal(lambda each: [each * len(each)], [np.ones(5)], [True], 2, 2)
    >>> found
    array([2., 2., 2., 2., 2.])
    """
    count = len(arrays[0])
    step = min(most or count, count)
    if step == count and lot in (None, count):
        return run(*arrays)
    found = []
    for at in range(0, count, step):
        shares = [each[at : at + step] if own else each for each, own in zip(arrays, rows, strict=True)]
        size = len(shares[0])
        filled = [_fill(each, lot) if own else each for each, own in zip(shares, rows, strict=True)]
        found.append([_trim(each, lot or size, size) for each in run(*filled)])
    return [_join(each) for each in zip(*found, strict=True)]


def _fill(share: Array, lot: int | None) -> Array:
    return share if not lot or len(share) == lot else np.concatenate([share, np.repeat(share[-1:], lot - len(share), 0)])


def _trim(value: Array, lot: int, size: int) -> tuple[Array, bool]:
    """Return the rows of the images without those that filled the lot up, and whether there are any."""
    if has_rows(value, lot):
        return value[:size], True
    return (value[None], True) if lot == 1 and value.dtype.kind == "f" else (value, False)  # without an axis of images


def _join(shares: Sequence[tuple[Array, bool]]) -> Array:
    return np.concatenate([each for each, _ in shares]) if all(own for _, own in shares) else shares[0][0]


def shorten(problem: Exception) -> str:
    """Return the beginning of what a library says, in one line.

    >>> shorten(ValueError("no", "such"))
    "('no', 'such')"
    """
    words = " ".join(str(problem).split()) or type(problem).__name__
    return words[:200] + "…" * (len(words) > 200)
