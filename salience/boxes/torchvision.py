"""`torchvision:NAME`: any classifier, detector or segmenter of torchvision, with its weights' own transforms and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from salience.boxes._options import fit_to_network
from salience.boxes._recognise import comes_from
from salience.boxes.torch import TorchBox, make_box
from salience.errors import BoxError, UnknownName
from salience.picture import Preparation
from salience.runtime.module import read_weights

WHOLE = 640  # pixels: what a detector is shown, which takes pictures of any size
RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless


def names() -> tuple[str, ...]:
    """List torchvision's classifiers, detectors and segmenters."""
    from torchvision import models

    return tuple(name for module in (models, models.detection, models.segmentation) for name in models.list_models(module))


def load(name: str, *, weights: str | None = None, classes: Any = None, **options: Any) -> TorchBox:
    """Make the network; `weights` is a file, the name of an enum member, "none" for random ones, or nothing (DEFAULT)."""
    from torchvision import models

    if name not in names():
        raise UnknownName.of("torchvision model", name, names())
    members = models.get_model_weights(name)
    published = members[weights] if weights in members.__members__ else members.DEFAULT
    wanted = published if weights is None or weights in members.__members__ else None
    try:
        places = {} if name in models.list_models(models) else {"weights_backbone": None}
        net: nn.Module = models.get_model(name, weights=wanted, **places)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected to load torchvision:{name}, got {reason}: give a file as ?weights=FILE.pth") from problem
    if wanted is None and weights != "none":
        read_weights(net, str(weights))
    return wrap(net, weights=published, classes=classes, name=f"torchvision:{name}", **options)


def recognises(thing: Any, options: Mapping[str, Any]) -> bool:
    """Say whether torchvision publishes weights for it: `weights=` is a member of one of its enums."""
    return comes_from(thing, "torch.nn") and options.get("weights") is not None


def wrap(module: nn.Module, *, weights: Any, classes: Any = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a module with the transforms and class names of its weights."""
    published = dict.fromkeys(("size", "normalisation", "classes"), "torchvision")
    base, names = fit_to_network(read_preparation(weights), module), weights.meta["categories"]
    return make_box(module, base, options, classes=classes, names=names, name=name, published=published)


def read_preparation(weights: Any) -> Preparation:
    """Read `weights.transforms()`."""
    steps = weights.transforms()
    if not hasattr(steps, "crop_size"):  # of detectors, which normalise by themselves, and of segmenters
        side = max(getattr(steps, "resize_size", None) or [WHOLE])
        normalised = hasattr(steps, "mean")
        mean, std = (tuple(steps.mean), tuple(steps.std)) if normalised else ((0.0,) * 3, (1.0,) * 3)
        return Preparation((side, side), "fit", "bilinear", mean, std, source=f"torchvision {weights}")
    crop, across = steps.crop_size, steps.resize_size
    size = (crop[0], crop[-1])
    return Preparation(
        size,
        across[0] if len(across) == 1 else tuple(across),
        steps.interpolation.value,
        tuple(steps.mean),
        tuple(steps.std),
        source=f"torchvision {weights}",
    )
