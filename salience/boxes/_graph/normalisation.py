"""What a network file does not say and its user may: how images are normalised, and what the classes are called."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._graph.box import FileBox
from salience.boxes._graph.lots import find_layout
from salience.boxes._graph.network import Network
from salience.boxes._names import read_class_names
from salience.boxes._options import OWN, read_options, split_options
from salience.picture import Preparation, read
from salience.runtime.outputs import choose_output
from salience.types import Images

SAMPLE, ESPRESSO = Path(__file__).parents[2] / "sample.jpg", 967  # ImageNet's number of what the sample shows
SURE = 0.1  # a thousand classes at random would give it 0.001
USUAL: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mean and std 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "pixels from 0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "pixels from 0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
ANY, PLAIN = "ImageNet's mean and std", "pixels from 0 to 1"


def make_file_box(network: Network, name: str, classes: Any, options: dict[str, Any]) -> FileBox:
    """Make a box of a network; a normalisation that is not declared is guessed, and a warning says so."""
    layout, names = find_layout(network.shape), read_class_names(classes)
    published = {"channels": "the file"} if layout.channels else {}
    if "size" not in options and None not in layout.size:
        options, published = options | {"size": layout.size}, published | {"size": "the file"}
    declared = bool({"mean", "std"} & set(options)) or network.kind.kind in "iu"
    channels = layout.channels or read_options({"channels": options.get("channels")}, OWN)["channels"] or 3
    base = None if declared else _usual(ANY if channels in (1, 3) else PLAIN, split_options(None, options)[0].size)
    ready, rest = split_options(base, {key: each for key, each in options.items() if declared or key != "size"})
    box = FileBox(network, ready, names, name=name, published=published, **read_options(rest, OWN))
    if not declared:
        _guess(box, given=names is not None, changed=ready != base)
    return box


def _guess(box: FileBox, *, given: bool, changed: bool) -> None:
    """Try what is usual on a photograph of an espresso; without ImageNet's classes, take what is most usual."""
    words, sure, count = ANY if box.channels in (1, 3) else PLAIN, 0.0, 0
    picture = read(SAMPLE)
    start = box.preparation
    for each in USUAL if words == ANY else ():
        box.preparation = _usual(each, box.size)
        row = _score(box, box.preparation(picture)[0][None])
        if len(row) not in (1000, 1001):
            break
        probabilities = row if bool((row >= 0).all()) and abs(float(row.sum()) - 1) < 1e-2 else row.softmax(0)
        found = float(probabilities[ESPRESSO + len(row) - 1000])
        if found > max(sure, SURE):
            words, sure, count = each, found, len(row)
    chosen = _usual(words, box.size)
    box.preparation = replace(start, mean=chosen.mean, std=chosen.std, source=chosen.source + ", changed" * changed)
    if count and not given:
        box.name_published(_imagenet(count), "ImageNet")
    why = f", for so it finds the espresso in a sample photograph ({sure:.0%})" if count else ""
    warnings.warn(
        f"{box.name} does not say how its images are normalised: taken as {words}{why}; give mean= and std= to be sure",
        stacklevel=4,
    )


def _score(box: FileBox, image: Images) -> Float[Tensor, " k"]:
    """Return the scores of an image, or nothing where they are not known yet."""
    try:
        return choose_output(box.put_out(image), 1, wanted=box.output).rows(1).flatten().float()
    except Exception:  # noqa: BLE001  # whatever the library raises: it is met, and refused, later
        return torch.zeros(0)


def _usual(words: str, size: tuple[int, int]) -> Preparation:
    mean, std = USUAL[words]  # where there are more channels, `take_channels` spreads them
    return Preparation(size, min(size) * 8 // 7, "bilinear", mean, std, source=f"guessed: {words}")


def _imagenet(count: int) -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return ("background",) * (count - 1000) + tuple(info.index_to_description(index) for index in range(1000))
