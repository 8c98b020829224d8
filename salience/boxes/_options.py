"""Options of a box, given as values or as text, over what is published and what the network itself was made for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from salience import limits
from salience.errors import BoxError, SettingError, UnknownName, show
from salience.picture import Preparation

FIXED = (  # where a module has the one size that it takes, and what it has only if there is no other
    ("img_size", "strict_img_size"),
    ("image_size", "position_embeddings"),
    ("image_size", "position_embedding"),
    ("image_size", "class_token"),
)


def split_options(base: Preparation | None, options: dict[str, Any]) -> tuple[Preparation, dict[str, Any]]:
    """Split options into a preparation (over what is published) and what is the box's own. Text is read as numbers.

    A changed size takes the published resize along, unless a resize is given too.
    """
    rest = {key: value for key, value in options.items() if key != "channels" or value is not None}
    if "channels" in rest:
        rest["channels"] = _read_option("channels", rest["channels"])
    asked = rest.get("channels", 3)
    count = 3 if asked == 1 else asked  # a box that takes grey makes it of colours itself
    given = _read_given(rest, count)
    if base is None and "size" not in given:
        raise BoxError("expected the size of the images that this network takes, got none: give size=224 (and mean, std)")
    if base is None:
        count = next((len(given[key]) for key in ("mean", "std") if key in given), count)
        return Preparation(**({"mean": (0.0,) * count, "std": (1.0,) * count} | given)), rest
    fitted = base.with_size(given["size"]) if "size" in given else base
    changed = replace(fitted, **given, source=f"{base.source}, changed") if given else base
    return (changed.with_channels(count) if "channels" in rest else changed), rest


def fit_to_network(base: Preparation, net: nn.Module) -> Preparation:
    """Let the size that a network was made for win over what was published for its kind.

    >>> net = nn.Module()
    >>> net.img_size, net.strict_img_size = 384, True
    >>> fit_to_network(Preparation((224, 224), resize=256), net).size
    (384, 384)
    """
    own = find_own_size(net)
    return base if own in (None, base.size) else replace(base.with_size(own), source=f"{base.source}, network of this size")


def find_own_size(net: nn.Module) -> tuple[int, int] | None:
    """Return the one size that a network takes; None where it says none, or takes others too.

    >>> find_own_size(nn.Conv2d(3, 8, 3)) is None
    True
    """
    stem = next((each.in_channels for each in net.modules() if isinstance(each, nn.Conv2d)), None)
    for module in net.modules():
        taken = getattr(getattr(module, "proj", None), "in_channels", stem)
        for size, sign in FIXED if taken == stem else ():  # else it is given features, not images
            sides, fixed = getattr(module, size, None), getattr(module, sign, None)
            if sides is not None and fixed is not None and fixed is not False:
                return (sides, sides) if isinstance(sides, int) else (int(sides[0]), int(sides[-1]))
    return None


def _read_given(rest: dict[str, Any], count: int) -> dict[str, Any]:
    """Take what belongs to the preparation out of options."""
    given: dict[str, Any] = {}
    if "size" in rest:
        lengths = _read_lengths("size", rest.pop("size"))
        given["size"] = (lengths[0], lengths[-1])
    if rest.get("resize") == "fit":
        given["resize"] = rest.pop("resize")
    if "resize" in rest:
        lengths = _read_lengths("resize", rest.pop("resize"))
        given["resize"] = lengths[0] if len(lengths) == 1 else tuple(lengths)
    for key in {"mean", "std"} & set(rest):
        values = _numbers(rest.pop(key))
        given[key] = tuple(values * count if len(values) == 1 else values)
    if "filter" in rest:
        given["filter"] = rest.pop("filter")
    return given


def _read_lengths(name: str, value: Any) -> list[int]:
    """Read a side, or height and width."""
    lengths = _numbers(value)
    if len(lengths) > 2 or not all(each.is_integer() for each in lengths):
        raise SettingError(f"expected {name} as a side or as height and width in whole pixels, got {show(value)}")
    return [int(each) for each in lengths]


TYPES: dict[str, Callable[[Any], Any]] = {"channels": int, "batch": int, "scale": float}
PREPARING = ("size", "resize", "filter", "mean", "std")
TEXTS = ("name", "takes")
OWN = ("head", "backend", "channels", "output", "batch")


def read_options(given: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Give options their types, where they come as text; one that a box does not have is answered with close matches."""
    for name in given:
        if name not in known:
            raise UnknownName.of("option of the box", name, (*PREPARING, "classes", *known))
    return {name: _read_option(name, value) for name, value in given.items()}


def _expect_text(name: str, value: Any) -> Any:
    if name in TEXTS and not isinstance(value, str):
        raise SettingError(f"expected a text for {name}, got {show(value)}")
    return value


def _read_option(name: str, value: Any) -> Any:
    kind = TYPES.get(name)
    if kind is None or value is None:
        return _expect_text(name, value)
    try:
        found = kind(value)
    except Exception:  # noqa: BLE001  # whatever an object raises that is no number
        found = None
    odd = isinstance(value, bool) or (isinstance(value, float) and found != value)
    if found is None or odd or not 0 < found <= limits.BATCH:
        what = "a whole number from 1 on" if kind is int else "a number above 0"
        raise SettingError(f"expected {what} for {name}, got {show(value)}")
    return found


def _numbers(value: Any) -> list[float]:
    try:
        split = value.replace("x", ",").split(",") if isinstance(value, str) else value
        numbers = [float(part) for part in (split if isinstance(split, Iterable) else [split])]
    except Exception:  # noqa: BLE001  # as above
        numbers = []
    if not numbers or isinstance(value, bool) or not all(map(math.isfinite, numbers)):
        raise SettingError(f"expected a number or several with commas between, got {show(value)}")
    return numbers
