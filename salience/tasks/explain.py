"""Explain pictures, and watch an explanation grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image as pil
from torch import Tensor

from salience import limits, specs
from salience.engine import validate
from salience.engine.query import allocator
from salience.engine.query.budget import Budget
from salience.engine.query.run import Progress
from salience.errors import SettingError, show
from salience.explanation import Explanation
from salience.picture import Picture, read
from salience.tasks.choose_method import choose_method
from salience.tasks.explain_many import explain_pictures, explain_targets
from salience.tasks.explain_one import explain_steps, take_last
from salience.tasks.name_layers import name_layers
from salience.tasks.prepare import list_places
from salience.types import BlackBox, QuestionBox

Source = Picture | str | Path | bytes | bytearray | IO[bytes] | pil.Image | Shaped[np.ndarray, "..."]
"""One picture; a tensor may be one (c h w) or a batch of them (n c h w)."""
Choice = str | int | tuple[int | str, int | str] | Callable[[Any], Any] | None
"""What is explained: "predicted" (or None), "runner-up", an index, a class name, a contrast, a function of the scores."""


@overload
def explain(
    box: Any,
    image: Source,
    method: Any = None,
    *,
    target: Choice = None,
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    band_shares: bool = True,
    **settings: Any,
) -> Explanation: ...
@overload
def explain(
    box: Any,
    image: list[Any] | tuple[Any, ...],
    method: Any = None,
    *,
    target: Choice | list[Any] = None,
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    band_shares: bool = True,
    **settings: Any,
) -> list[Explanation]: ...
@overload
def explain(
    box: Any,
    image: Source | Tensor,
    method: Any = None,
    *,
    target: list[Any],
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    band_shares: bool = True,
    **settings: Any,
) -> list[Explanation]: ...
@overload
def explain(
    box: Any,
    image: Tensor,
    method: Any = None,
    *,
    target: Choice = None,
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    band_shares: bool = True,
    **settings: Any,
) -> Explanation | list[Explanation]: ...
def explain(
    box: Any,
    image: Any,
    method: Any = None,
    *,
    target: Any = None,
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    band_shares: bool = True,
    **settings: Any,
) -> Explanation | list[Explanation]:
    """Explain one picture, or a list of pictures or a batch tensor `(n c h w)`, which gives a list.

    `box` and `image` are whatever `load` and `picture.read` take; options of a picture are given to the latter, as in
    `read("scan.tif", white=4095)`. `method` is a name or a method object; `settings` are its fields. `target` is
    None or "predicted", "runner-up", an index, a class name, a pair for a contrast, or a
    function of the probabilities. Of a detector or a segmenter it is one of the places that it finds in the picture
    ("car 2"), "all" of them, which gives a list, or a place of one's own ("car at 10,20,110,220"). A list of targets is one
    for each of several pictures, or several for one picture, which then share what passes they can. `budget` is 2000,
    "2000 passes" or "30s", for each map; without one, and without a number of masks, a method that samples makes its own
    number of passes, or as many as there is
    time for in ten seconds. `tolerance` stops a
    method that samples as soon as the maps of either half of its passes agree in rank by 1 − tolerance.

    A box whose channels are neither one nor three also gets the share of each band, two passes a band besides those of
    the method: the record's `bands`, unless `band_shares` is false or the budget has no room for them.

    Pictures of a list are explained together by methods that explain many (`BatchedMethod`), else one after the other.

    Returns an `Explanation`, or a list of them in the order of the pictures or targets.

    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> explain("toy:colour", red, "occlusion", window=16, stride=16).target.name
    'red'
    >>> [why.target.name for why in explain("toy:colour", red, "gradient", target=["red", "blue"])]
    ['red', 'blue']
    """
    box = specs.open_box(box)
    chosen = choose_method(method, seed, name_layers(settings, box))
    how = _read_options(budget, batch, progress, tolerance, band_shares)
    explained = _explain(box, image, chosen, target, how)
    allocator.release_memory()
    return explained


def _explain(box: BlackBox, image: Any, chosen: Any, target: Any, how: dict[str, Any]) -> Explanation | list[Explanation]:
    """Explain a list, several targets, or one picture."""
    if isinstance(target, str) and target == "all" and isinstance(box, QuestionBox):
        image = read(image)
        target = list_places(box, image)
    if isinstance(image, (list, tuple)) or (isinstance(image, torch.Tensor) and image.ndim == 4):
        targets = target if isinstance(target, list) else [target] * len(image)
        if len(targets) != len(image):
            raise SettingError(f"expected one target for each of {len(image)} pictures, got {len(targets)}")
        return explain_pictures(box, list(image), chosen, targets, **how)
    if isinstance(target, list):
        if not target:
            raise SettingError(
                "expected at least one target in the list, got none: leave target out for the predicted class"
            )
        return explain_targets(box, image, chosen, target, **how)
    return take_last(explain_steps(box, image, chosen, target=target, **how))


def _read_options(budget: Any, batch: Any, progress: Any, tolerance: Any, band_shares: Any) -> dict[str, Any]:
    """Read what bounds and accompanies an explanation, before anything is asked."""
    validate.expect_between("tolerance", tolerance, 0, 1, open_ends=True)
    if batch is not None:
        batch = int(limits.expect_number("batch", batch, 1, limits.BATCH, whole=True))
    if progress is not None and not callable(progress):
        raise SettingError(f"expected a function of passes and of how many are expected as progress, got {show(progress)}")
    if not isinstance(band_shares, (bool, np.bool_)):
        raise SettingError(f"expected true or false for band_shares, got {show(band_shares)}")
    given = {"budget": None if budget is None else Budget.of(budget), "batch": batch, "progress": progress}
    return given | {"tolerance": tolerance, "band_shares": bool(band_shares)}


def watch(
    box: Any,
    image: Source | Tensor,
    method: Any = None,
    *,
    target: Choice = None,
    budget: Any = None,
    seed: int | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    band_shares: bool = True,
    **settings: Any,
) -> Iterator[Explanation]:
    """Yield the explanation as it grows; stop whenever it is good enough. The last one is what `explain` returns.

    >>> image = torch.rand(3, 32, 32)
    >>> [why.passes for why in watch("toy:colour", image, "rise", budget=128, batch=64)]
    [128]
    """
    box = specs.open_box(box)
    chosen = choose_method(method, seed, name_layers(settings, box))
    how = _read_options(budget, batch, progress, tolerance, band_shares)
    return explain_steps(box, image, chosen, target=target, **how)
