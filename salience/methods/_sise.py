"""What SISE and Ada-SISE share: masks of feature maps, block by block, and the cascade that merges the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine.inside import cams, finite_differences
from salience.engine.inside.loop import introspect, iterate_images, list_layers, read_activations, share_answers
from salience.engine.perturb import feature_masks, fill
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.types import Estimate, Features, GreyBox, Image, Images, Map, OpenBox, Target

Gate = Literal["hard", "soft"]
AT_ONCE = 8  # images whose layers are read together: all activations of all blocks are kept


@dataclass(frozen=True)
class Semantic:
    """Semantic input sampling with a given rule of selection."""

    threshold: Callable[[Float[Tensor, " n"]], float]  # from α / max α of the positive maps to τ
    gate: Gate
    layers: str | None
    rectify: bool
    fill: str

    def many(self, box: GreyBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Read the layers of a few images at a time, then score the masks of each."""
        names = list_layers(box, images) if self.layers is None else tuple(each.strip() for each in self.layers.split(","))
        found: list[Estimate] = []
        with share_answers(images, targets):
            for part, shown, activations, alphas, spent in self.read(box, images, targets, names):
                for row, target in enumerate(targets[part]):
                    at = min(row, len(shown) - 1)  # one image may have several targets
                    blocks = [self.block(name, activations[name][at], alphas[name][row]) for name in names]
                    found.append(self.explain(box, shown[at], target, blocks, spent))
        return found

    def read(
        self, box: GreyBox, images: Images, targets: Sequence[Target], names: Sequence[str]
    ) -> Iterator[tuple[slice, Images, Mapping[str, Features], Mapping[str, Float[Tensor, "m c"]], int]]:
        """Yield the feature maps of each layer, their mean gradients α, and the passes that an image took.

        The gradients are gradients where the box gives them; else each map is raised a little.
        """
        if isinstance(box, OpenBox):
            for part, shown, reading in introspect(box, images, targets, names, "log-probability", most=AT_ONCE):
                alphas = {name: reading.gradients[name].float().mean((2, 3)) for name in names}
                yield part, shown, reading.activations, alphas, 1
            return
        for number, (one, aims) in enumerate(iterate_images(box, images, targets)):
            maps, shown = read_activations(box, one, names), one.to(box.device)
            part = slice(0, len(targets)) if len(images) == 1 else slice(number, number + 1)
            yield (
                part,
                shown,
                maps,
                finite_differences.estimate_gradients(box, shown, aims, maps),
                1 + finite_differences.count_passes(maps),
            )

    def block(self, name: str, activations: Float[Tensor, "c y x"], alpha: Float[Tensor, " c"]) -> Block:
        """Choose a block's maps: α > τ · max α, the greatest first."""
        maps = activations.float().relu() if self.rectify else activations.float()
        best = float(alpha.max())
        if best <= 0:
            return Block(name, maps[:0], len(maps))
        threshold = self.threshold(alpha[alpha > 0] / best)
        chosen = feature_masks.find_varying(maps)
        chosen = chosen[alpha[chosen] > max(threshold * best, 0.0)]
        chosen = chosen[alpha[chosen].argsort(descending=True, stable=True)]
        return Block(name, maps[chosen], len(maps), threshold)

    def explain(self, box: GreyBox, image: Image, target: Target, blocks: Sequence[Block], spent: int) -> Estimate:
        """Score the masks, average them block by block, merge the blocks from shallow to deep."""
        size = (image.shape[-2], image.shape[-1])
        wanted = sum(len(block.maps) for block in blocks)
        known = sum(len(block.maps) > 0 for block in blocks)
        allowed = plan_passes(wanted, default=wanted, least=known, what=f"the masks of {known} blocks")
        behind = fill.make_fill(self.fill, box, image)
        merged: Map | None = None
        seen: list[Map] = []
        told: list[dict[str, Any]] = []
        notes = list(cams.describe_layer(box, self.layers, silent=wanted == 0))
        for block in blocks:
            lot = feature_masks.FeatureMasks(block.maps[: max(1, len(block.maps) * allowed // max(wanted, 1))], size)
            total, used = torch.zeros(size, dtype=torch.float64, device=image.device), 0
            for part, drawn, scores in loop.score_masked(box, image, target, [lot], behind):
                total += torch.einsum("n,nhw->hw", scores.to(drawn) / drawn.sum((1, 2)), drawn)
                used += len(part)
            told.append(block.told | {"masks": used})
            if used == 0:
                notes.append(f"block {block.name} has no map that speaks for the target and was left out")
                continue
            seen.append(feature_masks.stretch(total / used))
            merged = seen[0] if merged is None else (merged + seen[-1]) * self.gated(seen[-1])
        if merged is None:
            return Estimate(torch.zeros(size), evidence={"blocks": tuple(told)}, notes=tuple(notes), passes=spent)
        evidence = {"blocks": tuple(told), "block maps": torch.stack(seen).float().cpu()}
        passes = spent + sum(each["masks"] for each in told)
        saliency = (merged / merged.max().clamp(min=1e-12)).float()
        return Estimate(saliency, evidence=evidence, notes=tuple(notes), passes=passes)

    def gated(self, block: Map) -> Map:
        """Open where the block's map lies above Otsu's threshold; a constant map opens everywhere."""
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
    def told(self) -> dict[str, Any]:
        """Say it for the record."""
        return {"layer": self.name, "channels": self.channels, "chosen": len(self.maps), "threshold": self.threshold}


def adaptive(positive: Float[Tensor, " n"]) -> float:
    """Choose τ by Otsu over the positive normalised gradients; 0, all of them, where there is nothing to split."""
    return (feature_masks.split_otsu(positive) or 0.0) if len(positive) > 2 else 0.0


def expect_gate(gate: str) -> None:
    """Refuse a gate that there is not."""
    if gate not in ("hard", "soft"):
        raise SettingError(f"expected gate hard or soft, got {gate!r}")
