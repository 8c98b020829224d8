"""The modes of a module, changed for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def quiet(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode for a while; modes and the random state come back, whatever happens."""
    training = [inner for inner in module.modules() if inner.training]
    state = torch.get_rng_state()
    try:
        for inner in training:
            inner.training = False
        yield
    finally:
        for inner in training:
            inner.training = True
        torch.set_rng_state(state)
