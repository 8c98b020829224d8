"""Increase in confidence. Chattopadhay, Sarkar, Howlader and Balasubramanian, Grad-CAM++, WACV 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.measures._masked_score import Protocol, score_masked_image


@dataclass(frozen=True)
class Increase:
    """Say whether the score rises when the image is shown through its own map: 1 or 0; the mean is the share of pictures.

    increase = 1[O > Y]        Y = score(image),  O = score(fill + mask · (image − fill))

    Masks, fills and scores are those of `average-drop`: "score-cam", and the same for "torchcam" and
    "grad-cam-softmax", the scaled map over the mean colour; "grad-cam-logit" reads the logit; "sise-15" keeps the
    highest 15 % whole; "ptame-100", "ptame-50" and "ptame-15" keep the scaled values of that share over black.
    "relevance-cam" has black below the median and counts O = Y too, as its author's code does.

    Range 0 or 1; NaN for a flat map, except under "sise-15". Cost: 2 passes. Departs as `average-drop` does.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Increase()(case).value, 2)
    0.0
    """

    protocol: Annotated[Protocol, Doc("what is kept, what the rest shows, which score is read")] = "score-cam"
    better: ClassVar[Better] = "higher"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Logits come from an open box."""
        return ("gradients",) if self.protocol == "grad-cam-logit" else ()

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        scores = score_masked_image(case, self.protocol)
        if scores is None:
            return MeasureResult(float("nan"))
        before, after = scores
        risen = after >= before if self.protocol == "relevance-cam" else after > before
        return MeasureResult(float(risen), {"before": before, "after": after})
