"""A method as Quantus' `explain_func`, so that all of its metrics run on our maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from salience import specs
from salience.boxes.torch import TorchBox
from salience.errors import SettingError
from salience.estimates import BatchedMethod
from salience.picture import Preparation
from salience.tasks.choose_method import choose_method
from salience.types import BlackBox


def explainer(method: Any = None, box: Any = None, **settings: Any) -> Callable[..., Any]:
    """Make `explain_func(model, inputs, targets, **settings) -> maps (n 1 h w)` of a method.

    `method` and `settings` are those of `salience.explain`; Quantus' `explain_func_kwargs` win over `settings`. As
    anywhere in Quantus, `inputs` are what the network takes, normalised already, as (n c h w) with any number
    of channels. Without `box`, the model that Quantus hands over is explained, a torch module that puts out logits; what
    is masked shows 0, the mean colour of normalised data. With a `box` the model is passed over, so that metrics which
    change the model see no change, and the inputs are brought back to 0…1 by the box's own normalisation.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    >>> explain = explainer("gradient")
    >>> explain(network, np.zeros((4, 3, 8, 8)), targets=[0, 1, 1, 0]).shape
    (4, 1, 8, 8)
    """
    fixed = None if box is None else specs.open_box(box)

    def explain(model: nn.Module, inputs: Any, targets: Any, **more: Any) -> Any:
        images = _read_inputs(inputs)
        asked = wrap_normalised(model, images, np.shape(inputs)[1]) if fixed is None else fixed
        images = images if fixed is None else _denormalise(fixed, images)
        made = choose_method(method, None, settings | {key: value for key, value in more.items() if key != "device"})
        wanted = [int(each) for each in np.asarray(targets).reshape(-1)]
        if isinstance(made, BatchedMethod):
            maps = [found.saliency for found in made.many(asked, images.to(asked.device), wanted)]
        else:
            maps = [made(asked, *each) for each in zip(images.to(asked.device), wanted, strict=True)]
        return torch.stack(maps)[:, None].float().cpu().numpy()

    return explain


def wrap_normalised(model: nn.Module, images: Tensor, channels: int) -> TorchBox:
    """Make a box of a network whose inputs are normalised already.

    >>> box = wrap_normalised(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)), torch.zeros(4, 3, 8, 8), channels=3)
    >>> box(torch.rand(4, 3, 8, 8)).shape
    torch.Size([4, 2])
    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    ready = Preparation(size).with_channels(images.shape[1])
    box = TorchBox(model, ready, backend="exact", channels=channels)
    box.mean = (0.0,) * images.shape[1]
    return box


def _read_inputs(inputs: Any) -> Tensor:
    images = torch.as_tensor(np.asarray(inputs), dtype=torch.float32)
    if images.ndim != 4 or images.shape[1] < 1 or images.shape[3] <= 4 < images.shape[1]:
        shape = tuple(images.shape)
        raise SettingError(f"expected inputs (n c h w) of one channel or more, got {shape}: put the channels first")
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _denormalise(box: BlackBox, images: Tensor) -> Tensor:
    """Undo the normalisation that the box will do again."""
    preparation = box.preparation
    if preparation is None:
        return images
    mean, std = (images.new_tensor(each)[:, None, None] for each in (preparation.mean, preparation.std))
    return images * std + mean
