"""How a torch box's passes run: in a lane, all at once or begun early."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes import _engines, _heads, _lanes
from salience.boxes._blending import Scaling, blending
from salience.boxes._heads import Head
from salience.boxes._module import kind, unwrapped
from salience.engine.modes import quiet
from salience.picture import Preparation
from salience.types import Image, Images, Probabilities


class Laned:
    """The passes of a module that takes prepared images and gives what `head` says."""

    module: nn.Module
    preparation: Preparation
    head: Head
    channels: int
    size: tuple[int, int]
    lane: str
    settled: bool
    check: dict[str, Any]

    @property
    def device(self) -> torch.device:
        """Where the module's weights are now."""
        first = next(self.module.parameters(), next(self.module.buffers(), None))
        return torch.device("cpu") if first is None else first.device

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch in the box's lane."""
        self.renew()
        return self.begin(images)()

    def renew(self) -> None:
        """Leave a lane that was compiled, once weights were written to; looking is too slow for every batch."""
        self.lane = _lanes.still(self.lane, self.module)

    def begin(self, images: Images) -> Callable[[], Probabilities]:
        """Begin to score a batch; what is returned waits for the scores, and till then `images` must stay as they are."""
        return self._begun(images, self.lane)

    def through(self, ahead: Image, behind: Image) -> Callable[..., Callable[[], Probabilities]] | None:
        """Return what begins to score `behind + mask · (ahead − behind)` for masks, where the network itself blends."""
        lane = self.lane
        if lane not in _lanes.OPENVINO or tuple(ahead.shape[-2:]) != self.size:
            return None
        return blending(ahead, behind, self.preparation.scaling, partial(self._compiled, lane))

    @property
    def apart(self) -> bool:
        """Whether it computes beside Python, so that the next batch can be made meanwhile."""
        return self.lane in _lanes.OPENVINO or self.device.type != "cpu"

    def settle(self, images: Images) -> None:
        """Choose the fastest lane that agrees with exact on `images`, once; `check` says what was found."""
        if self.settled:
            return
        self.settled = True
        self.lane, self.check = _lanes.settle(self._scored, images, _engines.about(self), _lanes.names(self.device))

    def _scored(self, images: Images, lane: str) -> Probabilities:
        return self._begun(images, lane)()

    def _begun(self, images: Images, lane: str) -> Callable[[], Probabilities]:
        if lane in _lanes.OPENVINO and tuple(images.shape[-2:]) == self.size:  # images of other sizes: uncompiled
            return self._compiled(lane, images, self.preparation.scaling)
        with torch.no_grad():
            scores = self._activated(self._run(images, lane))
        return lambda: scores

    def _compiled(self, lane: str, images: Float[Tensor, "n _ h w"], scaling: Scaling) -> Callable[[], Probabilities]:
        waited = _engines.begin(self, lane, images, scaling)
        return lambda: self._activated(waited())

    def ready(self, images: Images) -> Tensor:
        """Normalise images as the module wants them: a new tensor, so an in-place first layer harms nobody."""
        scale, shift = (each.to(images) for each in self.preparation.scaling)
        return self.taken(torch.addcmul(shift, images, scale))

    def taken(self, normal: Float[Tensor, "n 3 h w"]) -> Tensor:
        """Give normalised images the channels and the type that the module wants."""
        return (normal.mean(1, keepdim=True) if self.channels == 1 else normal).to(kind(self.module))

    def _run(self, images: Images, lane: str) -> Tensor:
        ready = self.ready(images)
        if lane != "exact":
            ready = ready.contiguous(memory_format=torch.channels_last)
        run = self._compiled_by_torch if lane.startswith(_lanes.TORCH) else self.module
        with quiet(self.module), _lanes.autocast(lane, self.device):
            return unwrapped(run(ready))

    @cached_property
    def _compiled_by_torch(self) -> Callable[[Tensor], Any]:
        return torch.compile(self.module)

    def _activated(self, raw: Tensor) -> Probabilities:
        return _heads.scaled(_heads.widened(raw, self.head), self.head, "probability")
