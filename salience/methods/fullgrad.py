"""FullGrad. Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from salience.engine import maps
from salience.engine.inside import cams, input_gradients
from salience.engine.inside.loop import introspect
from salience.estimates import BatchedMethod, Estimate
from salience.methods import _bias_gradients
from salience.types import IMAGE, Images, OpenBox, Target

TOLERABLE = 1e-2  # of the score; beyond it the map gets a note


@dataclass(frozen=True)
class Fullgrad(BatchedMethod):
    """The logit of a ReLU network is its input times its gradient plus what each bias adds: show all of it, each in place.

    saliency = ψ(x ⊙ ∂logit/∂x) + Σ over layers and channels of ψ(b ⊙ ∂logit/∂b)

    b are the biases of convolutions, linear layers and batch norms, with the means that a batch norm takes away. ψ
    takes absolute values, stretches them to 0…1 over one layer, and enlarges bilinearly. x is the network's own input,
    after normalisation. Biases without a place (after the pooling) have no map. "completeness gap" in the evidence is
    the share of the logit that the parts do not add up to: none in a network of ReLUs and batch norms; other
    activations, other norms and attention leave one. Cost: one forward pass and one backward pass.

    Departs from the paper: what a ReLU6 gives at its ceiling is a bias too, or the parts would not add up. From its
    authors' code: a layer is stretched without their 1e-6, and enlarged without aligned corners.

    >>> from salience.boxes import toy
    >>> saliency = Fullgrad()(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        estimates = []
        with _bias_gradients.BiasGradients(
            (images.shape[-2], images.shape[-1]), lambda adds: stretch_sizes(adds).sum(1)
        ) as biases:
            for _, batch, result in introspect(box, images, targets, [IMAGE]):
                shares = (batch - input_gradients.find_zero(box, batch)) * result.gradients[IMAGE]
                saliency = stretch_sizes(shares).sum(1)
                total = shares.flatten(1).sum(1)
                for small, adds in biases.iterate_contributions(len(batch)):
                    total += adds.to(total)
                    if small is not None:
                        saliency += cams.enlarge(small.to(saliency), batch)
                gaps = (result.scores - total).abs() / result.scores.abs().clamp(min=1e-12)
                estimates += [make_estimate(*each) for each in zip(saliency, gaps.tolist(), strict=True)]
        return estimates


def stretch_sizes(values: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
    """Take absolute values, and stretch each image's to 0…1, all channels and places together."""
    return maps.stretch(values.abs(), (1, 2, 3))


def make_estimate(saliency: Tensor, gap: float) -> Estimate:
    """Make an estimate with the share of the score that the map leaves out."""
    evidence = {"completeness gap": gap}
    if gap <= TOLERABLE:
        return Estimate(saliency, evidence=evidence)
    cause = "the network has other activations than ReLU, or biases that are not recorded"
    note = f"the parts miss the score by {gap:.0%} of it: {cause}"
    return Estimate(saliency, evidence=evidence, notes=(note,))
