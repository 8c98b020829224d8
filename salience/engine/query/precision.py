"""A box for methods that amplify rounding: `auto` chooses for it among the backends that compute in float32."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from threading import Lock
from weakref import WeakKeyDictionary

from salience.estimates import PreciseMethod
from salience.types import BackendBox, BlackBox

CHOICE = ("backend", "backend_chosen", "check", "precision")  # what a box and its finer copy do not share

_finer: WeakKeyDictionary[BackendBox, BackendBox] = WeakKeyDictionary()
_lock = Lock()


def is_fine(backend: str) -> bool:
    """Say whether a backend computes in float32 or better.

    >>> is_fine("openvino"), is_fine("openvino bfloat16"), is_fine("torch float16")
    (True, False, False)
    """
    return not backend.endswith("float16")


def refine(box: BlackBox, method: object) -> BlackBox:
    """Return the box for a method: for a precise one a copy, always the same, whose backend computes in that precision.

    The box keeps its own choice, so methods that take any backend may use it meanwhile. The copy has the same network.
    Where somebody named a backend it is the box itself.

    >>> from salience import registry
    >>> from salience.boxes import toy
    >>> box, sobol, rise = toy.load("colour", backend="auto"), *map(registry.make_method, ("sobol", "rise"))
    >>> refine(box, sobol).precision, refine(box, rise) is box
    ('float32', True)
    """
    if not isinstance(method, PreciseMethod) or not isinstance(box, BackendBox):
        return box
    if not box.automatic or box.precision == method.precision:
        return box
    with _lock:
        finer = _finer.get(box)
        if finer is None:
            finer = _finer[box] = copy(box)
            finer.precision = method.precision
            if not is_fine(box.backend):
                finer.backend, finer.backend_chosen, finer.check = "exact", False, {}
        vars(finer).update({name: value for name, value in vars(box).items() if name not in CHOICE})  # set on it since
    return finer


def list_admitted(box: BackendBox, backends: Sequence[str]) -> tuple[str, ...]:
    """List the backends that are precise enough for what a box is used for.

    >>> from salience import registry
    >>> from salience.boxes import toy
    >>> finer = refine(toy.load("colour", backend="auto"), registry.make_method("sobol"))
    >>> list_admitted(finer, ("openvino bfloat16", "openvino", "exact"))
    ('openvino', 'exact')
    """
    return tuple(each for each in backends if box.precision is None or is_fine(each))
