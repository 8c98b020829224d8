"""What SISE and Ada-SISE share: masks of feature maps, block by block, and the cascade that merges the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import maps
from salience.engine.inside import cams, finite_differences
from salience.engine.inside.loop import choose_layers, introspect, iterate_images, read_activations, share_scores_of_targets
from salience.engine.perturb import feature_masks, fill
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import Estimate
from salience.types import Features, GreyBox, Image, Images, Map, OpenBox, Target

Gate = Literal["hard", "soft"]
AT_ONCE = 8  # images whose layers are read together: all activations of all blocks are kept


@dataclass(frozen=True)
class SemanticSampling:
    """Semantic input sampling with a given rule of selection."""

    threshold: Callable[[Float[Tensor, " n"]], float]  # from α / max α of the positive maps to τ
    gate: Gate
    layers: str | None
    rectify: bool
    fill: str

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Read the layers of a few images at a time, then score the masks of each."""
        names = choose_layers(box, images, self.layers)
        estimates: list[Estimate] = []
        with share_scores_of_targets(images, targets):
            for part, batch, activations, alphas, passes_before in self.read_layers(box, images, targets, names):
                for row, target in enumerate(targets[part]):
                    at = min(row, len(batch) - 1)  # one image may have several targets
                    blocks = [self.select_block(name, activations[name][at], alphas[name][row]) for name in names]
                    estimates.append(self.explain(box, batch[at], target, blocks, passes_before))
        return estimates

    def read_layers(
        self, box: GreyBox, images: Images, targets: Sequence[Target], names: Sequence[str]
    ) -> Iterator[tuple[slice, Images, Mapping[str, Features], Mapping[str, Float[Tensor, "m c"]], int]]:
        """Yield the feature maps of each layer, their mean gradients α, and the passes that an image took.

        Without a box that gives gradients, they are estimated by finite differences.
        """
        if isinstance(box, OpenBox):
            for part, batch, result in introspect(box, images, targets, names, "log-probability", most=AT_ONCE):
                alphas = {name: result.gradients[name].float().mean((2, 3)) for name in names}
                yield part, batch, result.activations, alphas, 1
            return
        for number, (one, its_targets) in enumerate(iterate_images(box, images, targets)):
            activations, batch = read_activations(box, one, names), one.to(box.device)
            part = slice(0, len(targets)) if len(images) == 1 else slice(number, number + 1)
            alphas = finite_differences.estimate_gradients(box, batch, its_targets, activations)
            yield part, batch, activations, alphas, 1 + finite_differences.count_passes(activations)

    def select_block(self, name: str, activations: Float[Tensor, "c y x"], alpha: Float[Tensor, " c"]) -> Block:
        """Select a block's maps: α > τ · max α, the greatest first."""
        features = activations.float().relu() if self.rectify else activations.float()
        greatest = float(alpha.max())
        if greatest <= 0:
            return Block(name, features[:0], len(features))
        threshold = self.threshold(alpha[alpha > 0] / greatest)
        chosen = feature_masks.find_varying(features)
        chosen = chosen[alpha[chosen] > max(threshold * greatest, 0.0)]
        chosen = chosen[alpha[chosen].argsort(descending=True, stable=True)]
        return Block(name, features[chosen], len(features), threshold)

    def explain(self, box: GreyBox, image: Image, target: Target, blocks: Sequence[Block], passes_before: int) -> Estimate:
        """Score the masks, average them block by block, merge the blocks from shallow to deep."""
        size = (image.shape[-2], image.shape[-1])
        wanted = sum(len(block.maps) for block in blocks)
        known = sum(len(block.maps) > 0 for block in blocks)
        allowed = plan_passes(wanted, default=wanted, least=known, what=f"the masks of {known} blocks")
        baseline = fill.make_fill(self.fill, box, image)
        merged: Map | None = None
        block_maps: list[Map] = []
        summaries: list[dict[str, Any]] = []
        notes = list(cams.describe_layer(box, self.layers, blank=wanted == 0))
        for block in blocks:
            lot = feature_masks.FeatureMasks(block.maps[: max(1, len(block.maps) * allowed // max(wanted, 1))], size)
            total, used = torch.zeros(size, dtype=torch.float64, device=image.device), 0
            for part, masks, scores in loop.score_masked(box, image, target, [lot], baseline):
                total += torch.einsum("n,nhw->hw", scores.to(masks) / masks.sum((1, 2)), masks)
                used += len(part)
            summaries.append(block.summary | {"masks": used})
            if used == 0:
                notes.append(f"block {block.name} has no map with a positive gradient and was left out")
                continue
            block_maps.append(maps.stretch(total / used))
            merged = block_maps[0] if merged is None else (merged + block_maps[-1]) * self.make_gate(block_maps[-1])
        if merged is None:
            return Estimate(torch.zeros(size), None, None, {"blocks": tuple(summaries)}, tuple(notes), passes_before)
        evidence = {"blocks": tuple(summaries), "block maps": torch.stack(block_maps).float().cpu()}
        passes = passes_before + sum(each["masks"] for each in summaries)
        saliency = (merged / merged.max().clamp(min=1e-12)).float()
        return Estimate(saliency, evidence=evidence, notes=tuple(notes), passes=passes)

    def make_gate(self, block: Map) -> Map:
        """Make the gate of a block: 1 where its map lies above Otsu's threshold, everywhere for a constant map."""
        threshold = feature_masks.split_otsu(block)
        if threshold is None:
            return torch.ones_like(block)
        if self.gate == "hard":
            return (block > threshold).to(block)
        if float((block > 1.5 * threshold).double().mean()) < 0.1:  # the bright part is small: be stricter
            threshold *= 1.5
        return torch.sigmoid(100 * (block - threshold))


@dataclass(frozen=True)
class Block:
    """The maps of one block that were chosen, the greatest α first."""

    name: str
    maps: Float[Tensor, "n y x"]
    channels: int
    threshold: float | None = None  # τ; None where no map has a positive gradient

    @property
    def summary(self) -> dict[str, Any]:
        """Return plain values for the record."""
        return {"layer": self.name, "channels": self.channels, "chosen": len(self.maps), "threshold": self.threshold}


def choose_threshold(positive: Float[Tensor, " n"]) -> float:
    """Choose τ by Otsu over the positive normalised gradients; 0, all of them, where there is nothing to split."""
    return (feature_masks.split_otsu(positive) or 0.0) if len(positive) > 2 else 0.0


def expect_gate(gate: str) -> None:
    """Refuse a gate that does not exist."""
    if gate not in ("hard", "soft"):
        raise SettingError(f"expected gate hard or soft, got {gate!r}")
