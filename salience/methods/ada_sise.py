"""Ada-SISE. Sudhakar et al., Adaptive Semantic Input Sampling for Efficient Explanation of CNNs, ICASSP 2021."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salience.engine import look
from salience.methods import _semantic
from salience.types import Found, GreyBox, Images, Target


@dataclass(frozen=True)
class AdaSise(look.Looks):
    """SISE with a threshold that each block chooses for each image: Otsu's, over its positive mean gradients.

    Of each block's feature maps those are kept with α_k > τ · max α, where τ = otsu({α_k / max α : α_k > 0}), 256
    bins. All else is SISE's (see `sise`).

    What is known: abstract and introduction; the paper's body could not be read. The rule of selection is that of two
    independent public codes that agree; fusion and division by area are taken to be SISE's. The abstract's "up to 30 %"
    of time may mean by or to.

    Departs from the codes: strictly greater than τ, where they differ; with two or fewer positive maps, or equal
    ones, all are kept; and as `sise` does.
    Cost: a pass forward and back, and a pass a mask, a sixth of SISE's or less; without gradients, a pass a channel more.
    """

    gate: _semantic.Gate = "hard"  # hard, as SISE's paper has it, or soft
    layers: str | None = None  # layers from shallow to deep, with commas between; none given: the end of each block
    rectify: bool = False  # whether negative activations are cut off before a map becomes a mask
    fill: str = "mean"  # what hidden pixels show: mean, black, white, grey, blur, noise or 0…1

    def __post_init__(self) -> None:
        _semantic.expect_gate(self.gate)

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Found]:
        """Explain each image for its target; several targets of one image share the passes of masks they share."""
        return _semantic.Semantic(_semantic.adaptive, self.gate, self.layers, self.rectify, self.fill).many(
            box, images, targets
        )
