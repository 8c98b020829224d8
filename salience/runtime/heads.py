"""What a network puts out, and how it becomes probabilities."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from salience.errors import BoxError, SettingError
from salience.types import Head, Probabilities, Scale


def expect_head(head: str) -> None:
    """Refuse a head that there is not.

    >>> expect_head("tanh")
    Traceback (most recent call last):
        ...
    salience.errors.SettingError: expected a head, one of softmax, sigmoid, binary, none, got 'tanh'
    """
    if head not in get_args(Head):
        raise SettingError(f"expected a head, one of {', '.join(get_args(Head))}, got {head!r}")


def widen(raw: Tensor, head: Head) -> Probabilities:
    """Return logits (n k) in float32 or float64; one logit becomes two whose softmax is (1 − σ, σ).

    >>> widen(torch.tensor([2.0]), "binary")
    tensor([[-1.,  1.]])
    """
    logits = raw if raw.dtype == torch.float64 else raw.float()
    logits = logits[:, None] if logits.ndim == 1 else logits
    if head == "binary":
        if logits.shape[1] != 1:
            raise BoxError(f"expected one logit for a binary head, got {logits.shape[1]}: use the softmax head")
        return torch.cat([-logits, logits], dim=1) / 2
    return logits


def apply_head(logits: Probabilities, head: Head, of: Scale) -> Probabilities:
    """Turn logits into probabilities, or their logarithms.

    >>> apply_head(torch.zeros(1, 4), "softmax", "probability")
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    if head == "none" or of == "logit":
        return logits
    if head == "sigmoid":
        return logits.sigmoid() if of == "probability" else functional.logsigmoid(logits)
    return logits.softmax(1) if of == "probability" else logits.log_softmax(1)
