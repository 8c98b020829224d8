"""SISE. Sattarzadeh et al., Explaining CNNs through Attribution-Based Input Sampling, AAAI 2021, arXiv 2010.00672."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from salience.engine import validate
from salience.estimates import BatchedMethod, Estimate
from salience.methods import _sise
from salience.methods._settings import Fill, Layers, Rectify
from salience.types import GreyBox, Images, Target


@dataclass(frozen=True)
class Sise(BatchedMethod):
    """Show the image through its own feature maps, and let deep maps gate what shallow ones found.

    Of each block's feature maps A_k those are kept whose mean gradient α_k exceeds μ · max α (eq. 3). Each becomes a
    mask m_k: enlarged, then stretched to 0…1 (eq. 4). A block's map is V = mean of score(image ⊙ m_k) · m_k / Σ m_k
    (eq. 7), stretched to V̂. From shallow to deep E_b = (E_{b−1} + V̂_b) ⊙ (V̂_b > otsu(V̂_b)), and saliency = E / max E.

    What is known: the whole paper. `gate="soft"` follows teaching code of the authors' university (a sigmoid at the
    threshold, raised by half where that leaves a tenth of the pixels); it may have made the published numbers.
    Layers are the ends of the blocks, as the paper words it; for a transformer, token maps before the attention of
    four blocks take their place, which is our extension and not SISE.

    Where the box gives no gradients, α_k is what the log-probability gains when the whole map is raised a little: a pass
    a map through what comes after the layer.

    Departs from the paper: gradients are of the log-probability (the same choice as of the probability, without
    underflow); constant maps are left out; a budget that is too small keeps the maps of greatest α in each block.
    Cost: a pass forward and back, and a pass a mask, about half of all channels at μ = 0; without gradients, one more
    a channel.

    >>> from salience.boxes import toy
    >>> saliency = Sise()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    mu: Annotated[
        float, Doc("μ, the share of the greatest mean gradient that a map's must exceed; 0.3 takes a quarter of the time")
    ] = 0.0
    gate: Annotated[_sise.Gate, Doc("hard, as the paper has it, or soft")] = "hard"
    layers: Layers = None
    rectify: Rectify = False
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        validate.expect_between("mu", self.mu, 0, 1)
        _sise.expect_gate(self.gate)

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; several targets of one image share the passes of masks they share."""
        sampling = _sise.SemanticSampling(lambda _: self.mu, self.gate, self.layers, self.rectify, self.fill)
        return sampling.many(box, images, targets)
