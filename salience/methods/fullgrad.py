"""FullGrad. Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine.inside import cams, input_gradients
from salience.engine.inside.loop import BatchedMethod, introspect
from salience.methods import _bias_gradients
from salience.types import IMAGE, Estimate, Images, OpenBox, Target

TOLERABLE = 1e-2  # of the score; beyond it the map gets a note


@dataclass(frozen=True)
class Fullgrad(BatchedMethod):
    """The logit of a ReLU network is its input times its gradient plus what each bias adds: show all of it, each in place.

    saliency = ψ(x ⊙ ∂logit/∂x) + Σ over layers and channels of ψ(b ⊙ ∂logit/∂b)

    b are the biases of convolutions, linear layers and batch norms, with the means that a batch norm takes away. ψ
    takes sizes, stretches them to 0…1 over one layer, and enlarges bilinearly. x is the input as the network sees it,
    after normalisation. Biases without a place (behind the pooling) have no map. "completeness gap" in the evidence is
    the share of the logit that the parts do not add up to: none in a network of ReLUs and batch norms; other
    activations, other norms and attention leave one. Cost: one forward pass and one backward pass.

    Departs from the paper: what a ReLU6 gives at its ceiling is a bias too, or the parts would not add up. From its
    authors' code: a layer is stretched without their 1e-6, and enlarged without aligned corners.
    """

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        found = []
        with _bias_gradients.BiasGradients(
            (images.shape[-2], images.shape[-1]), lambda adds: stretched(adds).sum(1)
        ) as seen:
            for _, shown, reading in introspect(box, images, targets, [IMAGE]):
                shares = (shown - input_gradients.find_zero(box, shown)) * reading.gradients[IMAGE]
                saliency = stretched(shares).sum(1)
                whole = shares.flatten(1).sum(1)
                for small, adds in seen.parts(len(shown)):
                    whole += adds.to(whole)
                    if small is not None:
                        saliency += cams.enlarge(small.to(saliency), shown)
                gaps = (reading.scores - whole).abs() / reading.scores.abs().clamp(min=1e-12)
                found += [told(*each) for each in zip(saliency, gaps.tolist(), strict=True)]
        return found


def stretched(values: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
    """Take sizes, and stretch each image's to 0…1, all channels and places together."""
    sizes = values.abs()
    low, high = sizes.amin((1, 2, 3), keepdim=True), sizes.amax((1, 2, 3), keepdim=True)
    return (sizes - low) / (high - low).clamp(min=torch.finfo(sizes.dtype).tiny)


def told(saliency: Tensor, gap: float) -> Estimate:
    """Add how much of the score the map leaves out."""
    evidence = {"completeness gap": gap}
    if gap <= TOLERABLE:
        return Estimate(saliency, evidence=evidence)
    note = f"the parts miss the score by {gap:.0%} of it: the network has more than ReLUs, or biases that are not seen"
    return Estimate(saliency, evidence=evidence, notes=(note,))
