"""What a detector found in images, in one form for all detectors, and how like it is to a detection asked about."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-12


@dataclass(frozen=True)
class Detections:
    """What a detector proposes in n images: q rectangles each, with the scores of k classes.

    Corners are x0, y0, x1, y1 in 0…1 of the image. `objectness` is how sure the detector is that something is there; where
    it says nothing of the kind, the score of the likeliest class stands for it.

    >>> found = Detections(torch.tensor([[[0.0, 0.0, 0.5, 0.5]]]), torch.tensor([[[0.1, 0.9]]]), torch.tensor([[0.9]]))
    >>> found.confidence
    tensor([[[0.1000, 0.9000]]])
    """

    corners: Float[Tensor, "n q 4"]
    scores: Float[Tensor, "n q k"]
    objectness: Float[Tensor, "n q"]
    multiplied: bool = False  # whether the confidence in a class is objectness times score

    @property
    def confidence(self) -> Float[Tensor, "n q k"]:
        """How sure the detector is of each class."""
        return self.scores * self.objectness[..., None] if self.multiplied else self.scores

    def compare(self, corners: Float[Tensor, "t 4"], scores: Float[Tensor, "t k"]) -> Float[Tensor, "n t"]:
        """Say how far each image still has each of t detections: the best of its proposals by IoU · cosine · objectness.

        Petsiuk et al., Black-box Explanation of Object Detectors via Saliency Maps (D-RISE), CVPR 2021, equations 3 to 6.

        >>> found = Detections(torch.tensor([[[0.0, 0.0, 0.5, 0.5]]]), torch.tensor([[[0.0, 0.9]]]), torch.tensor([[0.9]]))
        >>> found.compare(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([[0.4500]])
        """
        if not self.corners.shape[1]:
            return self.corners.new_zeros(len(self.corners), len(corners))
        alike = _normalise(self.scores) @ _normalise(scores).T
        return (overlap(self.corners, corners) * alike * self.objectness[..., None]).amax(1)


def overlap(one: Float[Tensor, "*n q 4"], other: Float[Tensor, "t 4"]) -> Float[Tensor, "*n q t"]:
    """Divide what rectangles share by what they cover together (IoU).

    >>> overlap(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.0, 0.5, 1.0], [2.0, 2.0, 3.0, 3.0]]))
    tensor([[0.5000, 0.0000]])
    """
    one, other = one[..., None, :], other.to(one)
    shared = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0)
    inside = shared.prod(-1)
    return inside / (measure_area(one) + measure_area(other) - inside).clamp(min=TINY)


def measure_area(corners: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Measure rectangles.

    >>> measure_area(torch.tensor([0.0, 0.0, 0.5, 0.5]))
    tensor(0.2500)
    """
    sides: Tensor = (corners[..., 2:] - corners[..., :2]).clamp(min=0)
    area: Tensor = sides.prod(-1)
    return area


def _normalise(scores: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
    length: Tensor = scores.norm(dim=-1, keepdim=True)
    return scores / length.clamp(min=TINY)


def list_distinct(proposals: Detections, least: float, most: int, near: float = 0.5) -> list[int]:
    """List the proposals of the first image that are detections, the surest first; near ones of a class count once.

    >>> corners = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.48], [0.5, 0.5, 1.0, 1.0]]])
    >>> scores = torch.tensor([[[0.9], [0.95], [0.1]]])
    >>> list_distinct(Detections(corners, scores, scores[..., 0]), least=0.5, most=10)
    [1]
    """
    sure, label = proposals.confidence[0].max(1)
    taken: list[int] = []
    for each in sure.argsort(descending=True, stable=True).tolist():
        if float(sure[each]) < least or len(taken) == most:
            break
        same = [other for other in taken if label[other] == label[each]]
        if not same or float(overlap(proposals.corners[0, [each]], proposals.corners[0, same]).max()) < near:
            taken.append(each)
    return taken
