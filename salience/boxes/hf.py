"""`hf:NAME`: an image classifier of the Hugging Face hub or of a local folder, with its own image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from salience.boxes._options import fit_to_network, split_options
from salience.boxes._recognise import comes_from
from salience.boxes.torch import TorchBox
from salience.errors import BoxError
from salience.picture import Preparation

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def load(name: str, *, classes: Any = None, **options: Any) -> TorchBox:
    """Load model and processor; a folder saved with `save_pretrained` needs no network."""
    try:
        from transformers import AutoModelForImageClassification
    except ImportError as problem:
        raise BoxError("expected the package transformers for hf: boxes, got none: install salience[hf]") from problem
    try:
        net = AutoModelForImageClassification.from_pretrained(name)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected to load hf:{name}, got {reason}: check the name or give a folder") from problem
    ready, rest = split_options(find_preparation(net, name, {"size", "mean", "std"} <= set(options)), options)
    if getattr(net.config, "problem_type", None) == "multi_label_classification":
        rest.setdefault("head", "sigmoid")
    return TorchBox(net, ready, classes or read_class_names(net), name=f"hf:{name}", **rest)


def recognises(thing: Any, options: Mapping[str, Any]) -> bool:
    """Say whether it is a network of transformers."""
    return comes_from(thing, "transformers") and "weights" not in options


def wrap(module: nn.Module, *, classes: Sequence[str] | None = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a network of transformers; with a size its image processor is not needed."""
    place = str(getattr(module.config, "_name_or_path", ""))
    ready, rest = split_options(find_preparation(module, place, "size" in options), options)
    return TorchBox(module, ready, classes or read_class_names(module), name=name, **rest)


def read_class_names(net: Any) -> tuple[str, ...]:
    """Name the classes as the model's configuration does."""
    named = net.config.id2label
    return tuple(str(named[index]) for index in range(len(named)))


def find_preparation(net: nn.Module, name: str, suffices: bool) -> Preparation | None:
    """Read the settings of the processor that lies beside the weights, for the size that the network was made for.

    None where there is no processor on this machine and what is given `suffices`.
    """
    if suffices and not name:
        return None
    try:
        return fit_to_network(load_preparation(name, here=suffices), net)
    except BoxError:
        if suffices:
            return None
        raise


def load_preparation(name: str, *, here: bool = False) -> Preparation:
    """Read the processor's settings, with `here` from this machine alone."""
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(name, local_files_only=here)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected an image processor for hf:{name}, got {reason}: give size, mean and std") from problem
    return read_preparation(processor)


def read_preparation(processor: Any) -> Preparation:
    """Translate an image processor: resize to a shape or to the shorter side, crop, normalise."""
    settings = processor.to_dict()
    wanted, crop = dict(settings.get("size") or {}), dict(settings.get("crop_size") or {})
    short = wanted.get("shortest_edge")
    portion = settings.get("crop_pct")
    cropped = bool(settings.get("do_center_crop")) and bool(crop)
    size: tuple[int, int]
    resize: int | tuple[int, int]
    if short is not None and portion and short < 384:  # ConvNeXt's processor: enlarge, then crop
        size, resize = (short, short), int(short / portion)
    elif short is not None:
        size = (crop["height"], crop["width"]) if cropped else (short, short)
        resize = short if cropped else (short, short)
    else:
        across = (wanted["height"], wanted["width"])
        size, resize = ((crop["height"], crop["width"]) if cropped else across), across
    normalised = settings.get("do_normalize", True)
    mean = tuple(settings["image_mean"]) if normalised else (0.0, 0.0, 0.0)
    std = tuple(settings["image_std"]) if normalised else (1.0, 1.0, 1.0)
    kind: Any = _FILTERS[int(settings.get("resample", 2))]
    return Preparation(size, resize, kind, mean, std, source=f"transformers {type(processor).__name__}")
