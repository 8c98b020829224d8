"""Why did the classifier say that? Saliency maps for any image classifier, measured and fast.

import salience

box = salience.load("timm:resnet50")
why = salience.explain(box, "dog.jpg")
why.plot()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salience.errors import SalienceError
    from salience.explanation import Explanation
    from salience.tasks.explain import explain, watch
    from salience.tasks.load import load
    from salience.tasks.measure import measure

__all__ = ["Explanation", "SalienceError", "explain", "load", "measure", "watch"]
__version__ = "0.1.0"

_HOMES = {"Explanation": "explanation", "SalienceError": "errors"}
_HOMES |= {"explain": "tasks.explain", "watch": "tasks.explain", "load": "tasks.load", "measure": "tasks.measure"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds, `salience --help` should not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'salience' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"salience.{_HOMES[name]}"), name)
