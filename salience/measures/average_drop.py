"""Average drop. Chattopadhay, Sarkar, Howlader and Balasubramanian, Grad-CAM++, WACV 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.measures._masked_score import Protocol, score_masked_image


@dataclass(frozen=True)
class AverageDrop:
    """Show the image through its own map; the less of the score is lost, the better. The mean over pictures is the figure.

    drop = max(0, Y − O) / Y        Y = score(image),  O = score(fill + mask · (image − fill)),  S = the map in 0…1

    "score-cam": the mask is S, the fill the mean colour, which is 0 in the box's normalised space. "sise-15": the
    highest 15 % of the pixels, exactly, kept whole; the rest at the mean colour (SISE, AAAI 2021). "ptame-100",
    "ptame-50" and "ptame-15": S where it lies above the value at that share and 0 elsewhere, pixels that tie with it
    dropped; black fill (P-TAME's code). "torchcam": as "score-cam" but (Y − O) / (Y + 1e-7), as torchcam 0.5 has it.
    "grad-cam-logit" and "grad-cam-softmax": the mask is S, but the drop is max(0, Y − O), not divided, of the logit
    or the probability (pytorch-grad-cam 1.5.7 with its default and its softmax target). "relevance-cam": S above the
    median, black fill, and NaN where nothing drops, so that the mean is over dropping pictures only (the code that
    Relevance-CAM's author published).

    Range 0 to 1; "grad-cam-logit" has no upper end. NaN for a flat map, except under "sise-15", and where Y is not
    above 0. Cost: 2 passes. Departs: values are fractions, not per cent; Score-CAM's own table mutes half of the
    pixels first, which only "ptame-50" and "relevance-cam" do here; the peers scale a map at its layer's size and
    enlarge it then, here it is scaled at the image's.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(AverageDrop()(case).value, 2)
    0.0
    """

    protocol: Annotated[Protocol, Doc("what is kept, what the rest shows, what the loss is divided by")] = "score-cam"
    better: ClassVar[Better] = "lower"

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
        return MeasureResult(self._drop(before, after), {"before": before, "after": after})

    def _drop(self, before: float, after: float) -> float:
        lost = max(0.0, before - after)
        if self.protocol in ("grad-cam-logit", "grad-cam-softmax"):
            return lost
        if self.protocol == "torchcam":
            return lost / (before + 1e-7)
        if before <= 0 or (self.protocol == "relevance-cam" and lost == 0):
            return float("nan")
        return lost / before
