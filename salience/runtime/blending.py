"""Networks of OpenVINO that normalise images, and blend them by masks, themselves (docs/decisions/0016-blending.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from salience.runtime.openvino import Rows, import_openvino, to_rows
from salience.types import Image, Images, Masks

T = TypeVar("T")
Scaling = tuple[Tensor, Tensor]
"""What images, or masks, are multiplied by, and what is added then: for all (c ± ±) or, the second, for each (n c h w)."""


def to_planes(scaling: Scaling) -> list[Rows]:
    """Give a scale and a shift as OpenVINO takes them: one for all images, or one an image.

    >>> [rows.shape for rows in to_planes((torch.ones(3, 1, 1), torch.zeros(3, 1, 1)))]
    [(1, 3, 1, 1), (1, 3, 1, 1)]
    """
    return [to_rows(each.reshape(-1, *each.shape[-3:])) for each in scaling]


def make_blending(
    image: Image, baseline: Image, scaling: Scaling, submit: Callable[[Tensor, Scaling], T]
) -> Callable[..., T]:
    """Return a function that submits masks, with the scale and the shift that make them normalised blends of two images.

    Of baseline + mask · (image − baseline) the normalisation is a product and a sum too: it costs no more than an image's.
    Where something is painted in place of `baseline`, each image has a shift of its own.

    >>> image, baseline = torch.full((3, 2, 2), 0.8), torch.zeros(3, 2, 2)
    >>> scaling = torch.ones(3, 1, 1), torch.zeros(3, 1, 1)
    >>> blend = make_blending(image, baseline, scaling, lambda masks, scaling: masks * scaling[0] + scaling[1])
    >>> torch.equal(blend(torch.ones(1, 2, 2))[0], image)
    True
    """
    scale, shift = (each.to(image) for each in scaling)
    blend = (image - baseline) * scale, torch.addcmul(shift, baseline, scale)

    def submit_masks(masks: Masks, paint: Callable[[Tensor, Tensor], Images] | None = None) -> T:
        return submit(masks[:, None], blend if paint is None else (blend[0], paint(scale, shift)))

    return submit_masks


def with_scaling(network: Any, *, last: bool = False, channels: int | None = None) -> Any:
    """Let a network that takes normalised images take images, a scale and a shift: `images · scale + shift` goes in.

    So one network normalises images, with numbers of (1 3 1 1), and blends two by masks of (n 1 h w), with those of
    `blending`; the shift may have a row an image. What it wants besides is done after it: the mean colour, colours `last`,
    another type. `channels` are those of a network that leaves them open.

    >>> from salience.runtime.openvino import convert
    >>> network = convert(torch.nn.Identity(), torch.rand(1, 3, 8, 8))
    >>> len(with_scaling(network).inputs)  # images, scale and shift
    3
    """
    openvino = import_openvino()
    ops, image = openvino.opset13, network.get_parameters()[0]
    lengths = [each.get_length() if each.is_static else -1 for each in image.get_partial_shape()]
    n, colours, h, w = (lengths[axis] for axis in (0, 3, 1, 2)) if last else lengths
    colours = channels if channels and colours == -1 else colours
    uses, kind = image.output(0).get_target_inputs(), image.get_element_type()
    given_colours = 3 if colours == 1 else colours
    shapes = [n, -1, h, w], [1, given_colours, -1, -1], [1 if n == 1 else -1, given_colours, -1, -1]
    given = [ops.parameter(openvino.PartialShape(shape), openvino.Type.f32) for shape in shapes]
    made = ops.add(ops.multiply(given[0], given[1]), given[2])
    if colours == 1:
        made = ops.reduce_mean(made, [1], keep_dims=True)
    if last:
        made = ops.transpose(made, [0, 2, 3, 1])
    if kind != openvino.Type.f32:
        made = ops.convert(ops.round(made, "half_to_even") if kind.is_integral() else made, kind)
    for use in uses:
        use.replace_source_output(made.output(0))
    return openvino.Model(network.get_results(), given)
