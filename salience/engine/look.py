"""The loop for methods that look inside a box: it batches, counts, reports progress and keeps to the budget.

It is to readings what `probe.each` is to scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from salience.engine import memory, probe
from salience.engine.pace import Pace
from salience.engine.run import Run, current
from salience.types import Features, Found, GreyBox, Image, Images, Map, OpenBox, Reading, Scale, Target

MOST = 64  # images that are differentiated at a time: their activations are all kept


def each(
    box: OpenBox,
    images: Images,
    targets: Sequence[Target],
    layers: Sequence[str],
    of: Scale = "logit",
    *,
    most: int = MOST,
) -> Iterator[tuple[slice, Images, Reading]]:
    """Read the layers for each image and its target, part by part; one image with several targets is one part.

    Counts one pass an image. Raises BudgetError when the budget does not allow all.
    """
    probe.plan(len(images), default=0, least=len(images), what=f"{len(images)} images")
    if box.device.type == "cpu":
        memory.keep()
    run = current.get() or Run()
    pace = Pace.of(box, "slopes") if run.batch is None else Pace(run.batch, fixed=True)
    begin = 0
    several = len(images) == 1
    while begin < len(images):
        size = min(pace.size, most, len(images) - begin)
        part = slice(begin, begin + size)
        began = time.perf_counter()
        shown = images[part].to(box.device)
        try:
            with probe.asking(box, shown):
                reading = box.read(shown, targets if several else targets[part], layers, of)
        except (torch.OutOfMemoryError, MemoryError):
            pace.halve(size)
            continue
        pace.took(size, time.perf_counter() - began)
        probe.expect_finite(box, reading.logits)
        run.count(size)
        begin += size
        yield slice(0, len(targets)) if several else part, shown, reading


class Looks:
    """A method that explains whole batches: called on one image, it explains a batch of one."""

    many: Callable[..., list[Found]]

    def __call__(self, box: GreyBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return self.many(box, image[None], [target])[0].saliency


def tap(box: GreyBox, images: Images, layers: Sequence[str]) -> dict[str, Features]:
    """Read the named layers: one pass an image."""
    with probe.asking(box, images):
        seen = box.tap(images.to(box.device), layers)
    for each in seen.values():
        probe.expect_finite(box, each)
    run = current.get()
    if run is not None:
        run.count(len(images))
    return seen


def sharing(images: Images, targets: Sequence[Target]) -> AbstractContextManager[None]:
    """Remember answers where one image has several targets."""
    return probe.remembering() if len(targets) > len(images) else nullcontext()


def layers(box: GreyBox, images: Images) -> tuple[str, ...]:
    """Name the end of each block of the box."""
    with probe.asking(box, images):
        return box.layers()


def layer(box: GreyBox, images: Images, name: str | None) -> str:
    """Return the layer asked for; none asked for: the end of the last block."""
    return name or layers(box, images)[-1]
