"""What a network file does not say and its user may: how images are normalised, and what the classes are called."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from salience.boxes._graph.box import FileBox
from salience.boxes._graph.network import Network, Parts, colours_last
from salience.boxes._options import split_options
from salience.errors import BoxError
from salience.picture import Preparation, read

SAMPLE, ESPRESSO = Path(__file__).parents[2] / "sample.jpg", 967  # ImageNet's number of what the sample shows
SURE = 0.1  # a thousand classes at random would give it 0.001
USUAL: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mean and std 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "pixels from 0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "pixels from 0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


def make_file_box(network: Network, name: str, classes: Sequence[str] | str | None, options: dict[str, Any]) -> FileBox:
    """Make a box of a network; a normalisation that is not declared is guessed, and a warning says so."""
    lengths = network.shape[1:3] if colours_last(network.shape) else network.shape[2:4]
    if "size" not in options and len(lengths) == 2 and None not in lengths:
        options = options | {"size": lengths}
    declared = {"mean", "std"} & set(options) or network.kind == np.uint8
    if declared:
        ready, rest = split_options(None, options)
        return FileBox(network, ready, _read_names(classes), name=name, **rest)
    base, espresso = _guess(network, name, split_options(None, options)[0].size)
    options = {key: value for key, value in options.items() if key != "size"}
    ready, rest = split_options(base, options)
    return FileBox(network, ready, _read_names(classes) or (_imagenet(espresso) if espresso else None), name=name, **rest)


def _guess(network: Network, name: str, size: tuple[int, int]) -> tuple[Preparation, int]:
    """Try what is usual on a photograph of an espresso; without ImageNet's classes, take what is most usual.

    Returns how many classes there are, if they are ImageNet's, else 0.
    """
    best, words, sure, count = _usual("ImageNet's mean and std", size), "ImageNet's mean and std", 0.0, 0
    picture = read(SAMPLE)
    for each in USUAL:
        tried = _usual(each, size)
        row = Parts(network, tried).run(tried(picture)[0][None], network.graph.answer).flatten().float()
        if len(row) not in (1000, 1001):
            break
        probabilities = row if bool((row >= 0).all()) and abs(float(row.sum()) - 1) < 1e-2 else row.softmax(0)
        found = float(probabilities[ESPRESSO + len(row) - 1000])
        if found > max(sure, SURE):
            best, words, sure, count = tried, each, found, len(row)
    why = f", for so it finds the espresso in a sample photograph ({sure:.0%})" if count else ""
    warnings.warn(
        f"{name} does not say how its images are normalised: taken as {words}{why}; give mean= and std= to be sure",
        stacklevel=4,
    )
    return best, count


def _usual(words: str, size: tuple[int, int]) -> Preparation:
    mean, std = USUAL[words]
    return Preparation(size, min(size) * 8 // 7, "bilinear", mean, std, source=f"guessed: {words}")


def _read_names(classes: Sequence[str] | str | None) -> Sequence[str] | None:
    """Take names, or a file with a name a line."""
    if not isinstance(classes, str):
        return classes
    try:
        return Path(classes).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise BoxError(f"expected the names of the classes in {classes}, a line each, got no such file") from None


def _imagenet(count: int) -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return ("background",) * (count - 1000) + tuple(info.index_to_description(index) for index in range(1000))
