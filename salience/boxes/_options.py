"""Options of a box, given as values or as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from salience.errors import BoxError, SettingError
from salience.picture import Preparation


def split_options(base: Preparation | None, options: dict[str, Any]) -> tuple[Preparation, dict[str, Any]]:
    """Split options into a preparation (over what is published) and what is the box's own. Text is read as numbers."""
    rest = dict(options)
    given: dict[str, Any] = {}
    if "size" in rest:
        lengths = [int(part) for part in _numbers(rest.pop("size"))]
        given["size"] = (lengths[0], lengths[-1])
    if "resize" in rest:
        lengths = [int(part) for part in _numbers(rest.pop("resize"))]
        given["resize"] = lengths[0] if len(lengths) == 1 else tuple(lengths)
    for key in ("mean", "std"):
        if key in rest:
            values = _numbers(rest.pop(key))
            given[key] = tuple(values * 3 if len(values) == 1 else values)
    if "filter" in rest:
        given["filter"] = rest.pop("filter")
    if "channels" in rest:
        rest["channels"] = int(rest["channels"])
    if base is None and "size" not in given:
        raise BoxError("expected the size of the images that this network takes, got none: give size=224 (and mean, std)")
    if base is None:
        return Preparation(**given), rest
    return (replace(base, **given, source=f"{base.source}, changed") if given else base), rest


def find_published(
    module: nn.Module, classes: Sequence[str] | None, options: dict[str, Any]
) -> tuple[nn.Module, Preparation | None, Sequence[str] | None]:
    """Find what a module's library publishes of its pixels, and of its classes unless they are given."""
    if any(kind.__module__.startswith("keras.") for kind in type(module).__mro__):
        from salience.boxes.keras import Keras

        model = Keras(module)
        options.update(model.told() | options)
        return model, None, classes
    return module, *_read_published(module, classes, options)


def _read_published(
    module: nn.Module, classes: Sequence[str] | None, options: dict[str, Any]
) -> tuple[Preparation | None, Sequence[str] | None]:
    weights = options.pop("weights", None)
    if weights is not None:
        from salience.boxes.torchvision import preparation

        return preparation(weights), classes or weights.meta["categories"]
    if hasattr(module, "pretrained_cfg"):
        from salience.boxes.timm import labels, preparation_of

        return preparation_of(module), classes or labels(module)
    if hasattr(module, "config") and hasattr(module.config, "id2label"):
        from salience.boxes.hf import labels_of, published_preparation

        base = None if "size" in options else published_preparation(str(getattr(module.config, "_name_or_path", "")))
        return base, classes or labels_of(module)
    return None, classes


def _numbers(value: Any) -> list[float]:
    parts = (
        value.replace("x", ",").split(",") if isinstance(value, str) else value if isinstance(value, Sequence) else [value]
    )
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        raise SettingError(f"expected a number or several with commas between, got {value!r}") from None
