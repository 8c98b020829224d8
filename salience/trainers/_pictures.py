"""The pictures that a trainer learns from, prepared for a box when they are asked for."""

from __future__ import annotations

from typing import Any

import torch

from salience import specs
from salience.case import Sample
from salience.engine.query.ask import choose_backend, score_batch
from salience.errors import DataError
from salience.picture import Preparation, read
from salience.types import BlackBox, Image, Probabilities

AT_ONCE = 32  # pictures that are read and scored together


class Pictures:
    """A data set, its spec, a list of pictures, or a batch of images that are ready."""

    def __init__(self, source: Any, box: BlackBox) -> None:
        self.source = specs.open_data(source) if isinstance(source, str) else source
        self.name = str(getattr(self.source, "name", f"{len(self.source)} pictures"))
        self.prepare: Preparation = box.preparation or Preparation(box.size)
        self.channels, self.shown = box.channels, len(box.mean)
        if len(self) == 0:
            raise DataError("expected pictures to learn from, got none: name a folder or a table that has some")

    def __len__(self) -> int:
        """Count them."""
        return len(self.source)

    def __getitem__(self, number: int) -> Image:
        """Prepare one."""
        one = self.source[number]
        if (
            isinstance(one, torch.Tensor)
            and tuple(one.shape) == (self.shown, *self.prepare.size)
            and bool(((one >= 0) & (one <= 1)).all())
        ):
            return one.detach().float().cpu()
        return self.prepare(read(one.picture if isinstance(one, Sample) else one), self.channels)[0]

    def score_all(self, box: BlackBox) -> Probabilities:
        """Score all as they are, part by part."""
        rows = []
        for begin in range(0, len(self), AT_ONCE):
            images = torch.stack([self[number] for number in range(begin, min(begin + AT_ONCE, len(self)))])
            if begin == 0:
                choose_backend(box, images[0])
            rows.append(score_batch(box, images.to(box.device)).float().cpu())
        return torch.cat(rows)


def choose_precision(box: BlackBox) -> str:
    """Choose the precision of a training: bfloat16 where half precision is the box's own choice and the device has it."""
    half = "16" in box.backend and (box.device.type == "cpu" or torch.cuda.is_bf16_supported())
    return "bf16" if half else "no"
