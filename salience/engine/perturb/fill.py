"""What masked-out pixels show: a constant, the mean colour of the box's data, a blur of the image, or noise."""

from __future__ import annotations

import torch
from torch.nn import functional

from salience.engine import seeding
from salience.errors import SettingError
from salience.types import BlackBox, Image

NAMES = ("mean", "black", "white", "grey", "blur", "noise")


def make_fill(name: str, box: BlackBox, image: Image, seed: int = 0) -> Image:
    """Return the image that shows where a mask is 0, at the size of `image`.

    "mean" is the box's mean colour, which is 0 in its normalised space (RISE and IASSA); "black", "white" and "grey"
    are constants, the same in every channel, and so is a number in 0…1; "blur" is the image under a Gaussian of a tenth
    of its width; "noise" is uniform in 0…1.

    >>> from salience.boxes import toy
    >>> make_fill("blur", toy.load("colour"), toy.picture()).shape
    torch.Size([3, 32, 32])
    """
    constants = {"mean": box.mean, "black": (0.0,), "white": (1.0,), "grey": (0.5,)}
    if name in constants:
        return image.new_tensor(constants[name])[:, None, None].expand_as(image)
    if name == "blur":
        return blur(image, sigma=image.shape[-1] / 10)
    if name == "noise":
        return torch.rand(image.shape, generator=seeding.generator(seed, "fill")).to(image)
    try:
        value = float(name)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise SettingError(f"expected a fill, one of {', '.join(NAMES)} or a number from 0 to 1, got {name!r}")
    return torch.full_like(image, value)


def blur(image: Image, sigma: float) -> Image:
    """Convolve with a Gaussian of `sigma` pixels; at the borders the nearest pixel is repeated.

    >>> blur(torch.eye(3)[None].expand(3, 3, 3), sigma=0.5)[0]
    tensor([[0.8093, 0.1791, 0.0118],
            [0.1791, 0.6415, 0.1791],
            [0.0118, 0.1791, 0.8093]])
    """
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), dim=0)
    for axis in (0, 1):
        pad = (0, 0, radius, radius) if axis == 0 else (radius, radius, 0, 0)
        shape = (1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1)
        image = functional.conv2d(functional.pad(image[:, None], pad, mode="replicate"), kernel.reshape(shape))[:, 0]
    return image
