"""Make a box of whatever people have."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from torch import nn

from salience import specs
from salience.types import BlackBox, OpenBox

B = TypeVar("B", bound=BlackBox)


@overload
def load(box: str = "default", **options: Any) -> BlackBox: ...
@overload
def load(box: B) -> B: ...
@overload
def load(box: nn.Module, **options: Any) -> OpenBox: ...
@overload
def load(box: Any, **options: Any) -> BlackBox: ...
def load(box: Any = "default", **options: Any) -> BlackBox:
    """Make a box of a spec, a torch module or a plain function; a box stays as it is.

    `load("timm:resnet50")`, `load(net, size=224, mean=…, std=…, classes=[…])`, `load(function, size=224,
    takes="numpy")`. What the weights publish (size, normalisation, class names) need not be given, and may be.

    >>> box = load("toy:colour")
    >>> box.name, list(box.classes), box.size
    ('toy:colour', ['red', 'green', 'blue'], (32, 32))
    """
    return specs.open_box(box, **options)
