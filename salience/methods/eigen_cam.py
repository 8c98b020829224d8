"""Eigen-CAM. Muhammad and Yeasin, Eigen-CAM: Class Activation Map using Principal Components, IJCNN 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from typing_extensions import Doc

from salience.engine.inside import cams
from salience.engine.inside.hooks import INPUT
from salience.engine.inside.loop import MOST, choose_layer, expect_targets, read_activations
from salience.engine.query.run import plan_passes
from salience.estimates import BatchedMethod, Estimate
from salience.types import Features, GreyBox, Images, Target


@dataclass(frozen=True)
class EigenCam(BatchedMethod):
    """Show what most of the features at a place have in common; whatever the class.

    saliency = A v,   v = the first right singular vector of A, its rows the places and its columns the channels

    The sign of v is arbitrary; it is chosen so that the map rises with Σ_k |A_k|. Cost: one forward pass.

    Departs from the paper: in a transformer without reductions, the default layer is read before its normalisation,
    after which all places are equally strong. `centred` takes each channel's mean off first, which the paper does not
    and a library does: the map is then the first principal component.

    >>> from salience.boxes import toy
    >>> saliency = EigenCam()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    layer: Annotated[
        str | None, Doc("the layer whose feature maps are projected; none given: the end of the last block")
    ] = None
    centred: Annotated[bool, Doc("whether each channel's mean is taken off first; the paper does not")] = False

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image, whatever its target; one image may have several targets, all with one map."""
        layer = choose_layer(box, images, self.layer or find_default_layer(box, images))
        expect_targets(box, images, targets)
        plan_passes(len(images), default=0, least=len(images), what=f"{len(images)} images")
        parts = (read_activations(box, part, [layer])[layer] for part in images.split(MOST))
        large = torch.cat([cams.enlarge(project(part, centred=self.centred), images) for part in parts])
        notes = (*cams.describe_layer(box, self.layer, blank=False), "the map shows what the box sees, not why this class")
        return [Estimate(each, evidence={"layers": (layer,)}, notes=notes) for each in large.expand(len(targets), -1, -1)]


def find_default_layer(box: GreyBox, images: Images) -> str:
    """Name the end of the last block; of a transformer without reductions, what goes into its normalisation."""
    layer = choose_layer(box, images, None)
    return layer.removesuffix(INPUT) + INPUT if box.layer_info().note else layer


def project(features: Features, *, centred: bool) -> Tensor:
    """Project the features of each place on the first right singular vector."""
    places = features.flatten(2).mT.double()
    strength = places.abs().sum(2)
    if centred:
        places = places - places.mean(1, keepdim=True)
    projected = (places @ torch.linalg.svd(places, full_matrices=False).Vh[:, :1].mT)[..., 0]
    rises = (projected * (strength - strength.mean(1, keepdim=True))).sum(1, keepdim=True)
    return torch.where(rises < 0, -projected, projected).reshape(len(features), *features.shape[2:]).float()
