"""The method that was asked for, or the default one, with its settings."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from salience import limits, registry
from salience.errors import SettingError, show

# Within ten seconds it and centred RISE are the most faithful, and it localises better (docs/results/iassa.md).
DEFAULT: dict[str, Any] = {"method": "iassa", "variant": "plus"}


def choose_method(method: Any, seed: int | None, settings: dict[str, Any]) -> Any:
    """Make the method of a name, or the default one, or change a method object's settings.

    >>> choose_method("rise", 3, {"masks": 100}).seed
    3
    """
    if seed is not None:
        seed = int(limits.expect_number("seed", seed, -(2**63), 2**64, whole=True))
    if method is not None and not isinstance(method, str):
        if isinstance(method, type) or not is_dataclass(method):
            raise SettingError(
                f"expected a method's name or an object of one, got {show(method)}: see `salience list methods`"
            )
        held = {each.name: getattr(method, each.name) for each in fields(method)}
        return registry.make(
            type(method), registry.find_name(method), held | settings | ({} if seed is None else {"seed": seed})
        )
    if method is None:
        settings = DEFAULT | settings
        method = settings.pop("method")
    if seed is not None and has_seed(registry.find_method(method)):
        settings = settings | {"seed": seed}
    return registry.make_method(method, **settings)


def has_seed(method: type[Any]) -> bool:
    """Say whether a class of methods draws by seed.

    >>> from salience.methods.rise import Rise
    >>> has_seed(Rise)
    True
    """
    return any(setting.name == "seed" for setting in registry.list_settings(method))
