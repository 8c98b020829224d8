"""What a network puts out, and how it becomes probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from salience.errors import BoxError, SettingError
from salience.types import Head, Probabilities, Scale

LEAST = 1e-30  # a probability whose logarithm is taken
NEAR = 1e-2  # how far from 1 probabilities in sixteen bits may sum up

# Operations whose results are no probabilities, even if they happen to lie from 0 to 1; as torch calls them.
UNBOUNDED = (
    *("Addmm", "Addmv", "Mm", "Mv", "Bmm", "Baddbmm", "Linear", "MkldnnLinear", "Convolution"),
    *(
        "NativeBatchNorm",
        "CudnnBatchNorm",
        "MkldnnBatchNorm",
        "NativeLayerNorm",
        "NativeGroupNorm",
        "BatchNorm",
        "LayerNorm",
        "GroupNorm",
    ),
    *("LogSoftmax", "Relu", "LeakyRelu", "Gelu", "Silu", "Elu", "Softplus"),
)
BOUNDED = ("Sigmoid", "Softmax")
OF_PROBABILITIES: tuple[Head, ...] = ("probabilities", "label-probabilities", "probability")
SAID: dict[Head, str] = {
    "softmax": "logits of {k} classes",
    "sigmoid": "logits of {k} labels, each by itself",
    "binary": "one logit, that of the second of two classes",
    "probabilities": "probabilities of {k} classes, which sum to 1",
    "label-probabilities": "probabilities of {k} labels, each by itself",
    "probability": "one probability, that of the second of two classes",
    "none": "{k} scores that are used as they are",
    "number": "{k} number{s}, each asked why so high and why so low",
    "ordinal": "logits of being above each of {k} grades; what is asked about is the grade",
}
NUMBERS: tuple[Head, ...] = ("number", "ordinal")


def expect_head(head: str) -> None:
    """Refuse a head that there is not.

    >>> expect_head("tanh")
    Traceback (most recent call last):
        ...
    salience.errors.SettingError: expected a head, one of softmax, ..., ordinal, got 'tanh'
    """
    if head not in get_args(Head):
        raise SettingError(f"expected a head, one of {', '.join(get_args(Head))}, got {head!r}")


def describe_head(head: Head, columns: int) -> str:
    """Say what a network puts out.

    >>> describe_head("softmax", 10)
    'logits of 10 classes'
    """
    return SAID[head].format(k=columns, s="s"[: columns > 1])


def recognise_head(rows: Probabilities, operation: str = "") -> Head:
    """Tell from the scores of a few pictures, and from the operation that made them where it is known, what they are.

    Rows of numbers from 0 on that sum to 1 are probabilities; numbers from 0 to 1 that do not are those of labels, each
    by itself; all else are logits.

    >>> recognise_head(torch.tensor([[0.2, 0.8], [0.5, 0.5]])), recognise_head(torch.tensor([[2.0], [-1.0]]))
    ('probabilities', 'binary')
    """
    rows, one = rows.float(), rows.shape[1] == 1
    within = bool(((rows >= 0) & (rows <= 1)).all())
    if operation in UNBOUNDED or not within:
        return "binary" if one else "softmax"
    if one:
        return "probability"
    sums = bool(((rows.sum(1) - 1).abs() <= NEAR).all())
    return "probabilities" if sums and operation != "Sigmoid" else "label-probabilities"


def widen(raw: Tensor, head: Head) -> Probabilities:
    """Return logits (n k) in float32 or float64; one logit becomes two whose softmax is (1 − σ, σ).

    >>> widen(torch.tensor([2.0]), "binary")
    tensor([[-1.,  1.]])
    """
    logits = raw if raw.dtype == torch.float64 else raw.float()
    logits = logits[:, None] if logits.ndim == 1 else logits
    if head in ("binary", "probability") and logits.shape[1] != 1:
        what = "logit" if head == "binary" else "score"
        raise BoxError(f"expected one {what} for a {head} head, got {logits.shape[1]}: use the softmax head")
    if head in NUMBERS:
        values = logits.sigmoid().sum(1, keepdim=True) if head == "ordinal" else logits
        return torch.cat([values, -values], dim=1)
    if head == "binary":
        return torch.cat([-logits, logits], dim=1) / 2
    if head == "probability":
        logits = torch.cat([1 - logits, logits], dim=1)
    if head == "label-probabilities":
        return logits.clamp(LEAST, 1).log() - (1 - logits).clamp(LEAST, 1).log()
    return logits.clamp(min=LEAST).log() if head in ("probability", "probabilities") else logits


def apply_head(logits: Probabilities, head: Head, of: Scale) -> Probabilities:
    """Turn logits into probabilities, or their logarithms.

    >>> apply_head(torch.zeros(1, 4), "softmax", "probability")
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    if head in ("none", *NUMBERS) or of == "logit":
        return logits
    if head in ("sigmoid", "label-probabilities"):
        return logits.sigmoid() if of == "probability" else functional.logsigmoid(logits)
    if head in ("probability", "probabilities"):  # what they are the logarithms of
        return logits.exp() if of == "probability" else logits
    return logits.softmax(1) if of == "probability" else logits.log_softmax(1)


def count_classes(columns: int, head: Head) -> int:
    """Say how many classes a number of columns stands for.

    >>> count_classes(1, "binary"), count_classes(10, "softmax")
    (2, 10)
    """
    return 2 if head in ("binary", "probability", "ordinal") else 2 * columns if head == "number" else columns


def name_sides(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Name the two sides of each number.

    >>> name_sides(None, 2), name_sides(["age", "weight"], 4)
    (('higher', 'lower'), ('age higher', 'weight higher', 'age lower', 'weight lower'))
    """
    if names is not None and len(names) == count:
        return tuple(names)
    several = count > 2
    known = [f"{each} " for each in names] if names is not None and several and 2 * len(names) == count else None
    leads = known or ([f"number {each} " for each in range(count // 2)] if several else [""])
    return tuple(f"{lead}{side}" for side in ("higher", "lower") for lead in leads)
