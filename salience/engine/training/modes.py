"""The modes of a module, changed for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from salience.engine.query import torch_threads
from salience.engine.query.one_pass import helps, take_turn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode for a while, with all threads; modes and the random state come back, whatever happens.

    >>> module = nn.Dropout()
    >>> with evaluating(module):
    ...     print(module.training)
    False
    >>> module.training
    True
    """
    if helps():  # the thread that has the turn has changed the modes
        yield
        return
    with take_turn():
        yield from _change_modes(module)


def _change_modes(module: nn.Module) -> Iterator[None]:
    training = [inner for inner in module.modules() if getattr(inner, "training", False)]  # a frozen script has no modes
    state = torch.get_rng_state()
    try:
        for inner in training:
            inner.training = False
        with torch_threads.use_all():
            yield
    finally:
        for inner in training:
            inner.training = True
        torch.set_rng_state(state)


def freeze_norms(module: nn.Module) -> None:
    """Put batch norms into eval mode: a few small batches of a few classes would spoil what they know of the data.

    >>> norm = nn.BatchNorm2d(3)
    >>> freeze_norms(norm)
    >>> norm.training
    False
    """
    for inner in module.modules():
        if isinstance(inner, nn.modules.batchnorm._BatchNorm) and inner.track_running_stats:  # noqa: SLF001  # there is no public base
            inner.eval()
