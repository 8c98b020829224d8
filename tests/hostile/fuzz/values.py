"""Values that nobody expects: in a recipe plain ones are themselves, and the others have a name."""

from __future__ import annotations

import decimal
import enum
import fractions
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn


class Raises:
    """An object that raises whatever it is asked."""

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("hostile\nobject")

    __eq__ = __bool__ = __len__ = __iter__ = __str__ = __repr__ = __int__ = __float__ = __index__ = __call__ = _raise
    __getitem__ = __add__ = __lt__ = __format__ = _raise
    __hash__ = None  # type: ignore[assignment]  # as lists have none


class Colour(enum.Enum):
    """No name of a class."""

    RED = 1


def _nest(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return inner


ODD: dict[str, Callable[[], Any]] = {
    "object": object,
    "a type": lambda: int,
    "raises": Raises,
    "an exception": lambda: ValueError("x"),
    "bytes": lambda: b"\xff\x00",
    "complex": lambda: 1 + 2j,
    "set": lambda: {1, 2},
    "dict": lambda: {"a": 1},
    "ellipsis": lambda: ...,
    "enum": lambda: Colour.RED,
    "decimal": lambda: decimal.Decimal("1.5"),
    "fraction": lambda: fractions.Fraction(1, 3),
    "range": lambda: range(2),
    "generator": lambda: iter([0, 1]),
    "path": lambda: Path("a"),
    "function": lambda: lambda *_, **__: None,
    "function of scores": lambda: lambda scores: scores[:, 0] - scores[:, 1],
    "function of nan": lambda: lambda scores: scores[:, 0] * math.nan,
    "function that raises": lambda: Raises()._raise,
    "array": lambda: np.arange(3),
    "array of one": lambda: np.array([1]),
    "array of none": lambda: np.zeros(0),
    "array scalar": lambda: np.array(1),
    "int64": lambda: np.int64(1),
    "float32": lambda: np.float32(0.5),
    "bool_": lambda: np.bool_(1),
    "str_": lambda: np.str_("red"),
    "datetime64": lambda: np.datetime64("2026-01-01"),
    "tensor": lambda: torch.arange(3.0),
    "tensor scalar": lambda: torch.tensor(1),
    "meta": lambda: torch.zeros(1, device="meta"),
    "module": lambda: nn.Linear(1, 1),
    "deep": lambda: _nest(3000),
    "many letters": lambda: "a" * 100_000,
    "400 digits": lambda: "9" * 400,
    "5000 digits": lambda: "9" * 5000,
    "huge": lambda: 10**5000,
}
TEXTS = (
    "",
    " ",
    "0",
    "1",
    "-1",
    "2.5",
    "nan",
    "inf",
    "1e400",
    "None",
    "true",
    "red",
    "predicted",
    "runner-up",
    "mean",
    "\udcff",
    "a\nb",
    "\0",
    "\x1b[2J",
    "%s",
    "{}",
    "../..",
    "5 passes",
    "1s",
    "²",
    "٣",
    "a" * 300,
    "é" * 200,
    "exact",
    "act",
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    7,
    16,
    64,
    2**31,
    2**63,
    -(2**63),
    2**64,
    10**30,
    0.5,
    1.0,
    -0.5,
    2.5,
    1e-9,
    1e30,
    math.nan,
    math.inf,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=6),
)
odd = st.sampled_from(sorted(ODD)).map(lambda name: {"odd": name})
plain = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=4), scalars, max_size=2))
anything = st.one_of(scalars, odd, st.lists(st.one_of(scalars, odd), max_size=3))


def make(recipe: Any) -> Any:
    """Make the value of a recipe."""
    if isinstance(recipe, dict):
        return ODD[recipe["odd"]]() if recipe.keys() == {"odd"} else {key: make(each) for key, each in recipe.items()}
    return [make(each) for each in recipe] if isinstance(recipe, (list, tuple)) else recipe


damages = st.lists(
    st.tuples(
        st.sampled_from(("flip", "cut", "repeat", "zero", "insert", "swap")),
        st.one_of(st.floats(0, 1), st.floats(0, 0.05)),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=3,
)


def damage(content: bytes, steps: Any) -> bytes:
    """Flip, cut, repeat, zero, insert or swap bytes of a good file."""
    for way, where, amount in steps:
        at = min(int(where * len(content)), max(0, len(content) - 1))
        before, here, after = content[:at], content[at : at + 1 + amount], content[at + 1 + amount :]
        if way == "flip" and here:
            content = before + bytes([here[0] ^ (1 << amount % 8)]) + content[at + 1 :]
        elif way == "cut":
            content = before
        elif way == "repeat":
            content = before + here * 3 + after
        elif way == "zero":
            content = before + b"\0" * len(here) + after
        elif way == "insert":
            content = before + bytes([amount]) * (amount % 9) + here + after
        else:
            content = before + here[::-1] + after
    return content
