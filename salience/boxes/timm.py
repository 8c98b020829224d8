"""`timm:NAME`: any classifier of timm, with the preprocessing and class names that timm publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from salience.boxes._options import OWN, PREPARING, find_own_size
from salience.boxes._recognise import comes_from
from salience.boxes.torch import TorchBox, make_box
from salience.errors import BoxError, SettingError, UnknownName
from salience.picture import Preparation
from salience.runtime.module import read_weights

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
CODE = ("checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay")  # older timms unpickle these


def names() -> tuple[str, ...]:
    """List what timm has."""
    import timm

    return tuple(timm.list_models())


def load(name: str, *, weights: str | None = None, classes: Any = None, **options: Any) -> TorchBox:
    """Make the network; `weights` is a file, "none" for random ones, or nothing for timm's own (downloaded).

    Options that are not the box's go to `timm.create_model`, e.g. `timm:mobilenetv2_100?pad_type=same`.
    """
    import timm

    if name not in timm.list_models() and not name.startswith(("hf_hub:", "hf-hub:")) and not timm.is_model(name):
        raise UnknownName.of("timm model", name, timm.list_models())
    for key in (each for each in CODE if each in options):
        raise SettingError(f"expected the weights of timm:{name} as ?weights=FILE, got {key}: it may run code")
    extra = {key: _plain(options.pop(key)) for key in list(options) if key not in (*PREPARING, *OWN)}
    try:
        net: nn.Module = timm.create_model(name, pretrained=weights is None, **extra)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected to load timm:{name}, got {reason}: give a file as ?weights=FILE.safetensors") from problem
    if weights not in (None, "none"):
        read_weights(net, str(weights))
    return wrap(net, classes=classes, name=f"timm:{name}", **options)


def recognises(thing: Any, options: Mapping[str, Any]) -> bool:
    """Say whether it is a network of timm; with `weights=`, torchvision's are meant."""
    return comes_from(thing, "timm") and "weights" not in options


def wrap(module: nn.Module, *, classes: Any = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a network of timm, with the preprocessing and class names that timm publishes."""
    published = dict.fromkeys(("size", "normalisation", "classes"), "timm")
    base, names = read_preparation(module), read_class_names(module)
    return make_box(module, base, options, classes=classes, names=names, name=name, published=published)


def _plain(value: Any) -> Any:
    """Read the digits of a spec, as in `?num_classes=10`, as a number."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def read_preparation(net: nn.Module) -> Preparation:
    """Read timm's data configuration: short side to size / crop_pct, centre crop (or as its crop mode says).

    A size that the network was made for (`img_size=384`) wins over the one of its weights.
    """
    from timm.data.config import resolve_model_data_config

    config = resolve_model_data_config(net)
    size = find_own_size(net) or tuple(config["input_size"][1:])
    across = tuple(int(length / config["crop_pct"]) for length in size)
    if config.get("crop_mode", "center") == "squash":
        resize: Any = across
    else:
        resize = across[0] if across[0] == across[1] else across
    kind: Any = (
        config["interpolation"] if config["interpolation"] in ("bilinear", "bicubic", "nearest", "lanczos") else "bicubic"
    )
    return Preparation(size, resize, kind, tuple(config["mean"]), tuple(config["std"]), source="timm")


def read_class_names(net: nn.Module) -> tuple[str, ...] | None:
    """Name the classes where timm knows them: ImageNet and its subsets."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(net)
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))
