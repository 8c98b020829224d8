"""P-TAME's step: what a batch is shown, asked, and taught by, along either route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from salience import specs
from salience.case import Case
from salience.engine import seeding
from salience.engine.inside import cams
from salience.engine.inside.loop import introspect
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.engine.query.score_cache import share_scores
from salience.engine.training.explainer import stretch
from salience.engine.training.features import CachedFeatures, FeatureSource
from salience.engine.training.history import Row
from salience.engine.training.loop import Loop
from salience.engine.training.sample_order import OrderedSample
from salience.trainers._p_tame import losses
from salience.trainers._p_tame.settings import PTameSettings
from salience.trainers._p_tame.split import Split
from salience.types import IMAGE, Image, Images, Masks, OpenBox, Probabilities, Scores

MEASURES = {
    "average drop": "average-drop/ptame-100",
    "increase": "increase/ptame-100",
    "morf": "road/ptame-morf",
    "lerf": "road/ptame-lerf",
}


class Learner:
    """A batch's loss, and a check on held-out pictures."""

    watched = "road"

    def __init__(
        self, how: PTameSettings, box: Any, source: FeatureSource, split: Split, module: nn.Module, loop: Loop
    ) -> None:
        self.how, self.box, self.source, self.split, self.module, self.loop = how, box, source, split, module, loop
        self.features = CachedFeatures(source)
        self.count = len(split.numbers)
        self.row = {each: row for row, each in enumerate(split.classes)}
        self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(
            module.parameters(), lr=how.rate, weight_decay=how.decay, amsgrad=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, max_lr=how.rate, total_steps=max(2, loop.steps))
        self.schedule: torch.optim.lr_scheduler.LRScheduler = schedule

    def loss(self, module: nn.Module, samples: Sequence[OrderedSample]) -> tuple[Tensor, Row]:
        """Return the loss of one batch."""
        numbers = [self.split.numbers[sample.picture] for sample in samples]
        turned = [self.is_mirrored(sample) for sample in samples]
        pictures = [self.split.pictures[number] for number in numbers]
        images = torch.stack([each.flip(-1) if turn else each for each, turn in zip(pictures, turned, strict=True)])
        images = images.to(self.box.device, memory_format=torch.channels_last)  # half as much again as quick on CPUs
        targets = [self.split.targets[number] for number in numbers]
        rows = torch.tensor([self.row[each] for each in targets], device=images.device)
        seen, place = rows.unique(return_inverse=True)
        raw = module(self.features(list(zip(numbers, turned, strict=True)), images), seen)
        if self.how.route == "queries":
            return self.by_queries(raw, images, [self.split.classes[row] for row in seen.tolist()], samples)
        return self.by_gradient(raw, images, targets, place)

    def by_gradient(
        self, raw: Float[Tensor, "n k y x"], images: Images, targets: Sequence[int], place: Int[Tensor, " n"]
    ) -> tuple[Tensor, Row]:
        """Let each picture be recognised through its own map; keep the maps of all the batch's classes small and smooth."""
        how, soft = self.how, raw.sigmoid()
        across = soft[:, place]  # A: every picture with every class of the batch, as often as it comes
        own = across.diagonal(dim1=0, dim2=1).permute(2, 0, 1)  # D: every picture with its own
        shown = cams.enlarge(own, images)
        ce, gradients = masked_gradient(self.box, images, shown, targets, how.fill)
        area, variation = losses.area(across, how.power), losses.variation(across, how.border)
        rest = how.area * area + how.smooth * variation
        others = (across.mean() * len(across) - own.mean()) / max(1, len(across) - 1)
        parts = {"loss": how.ce * ce + rest, "area": area, "variation": variation, "own": own.mean(), "others": others}
        row = {"ce": ce} | {name: float(each.detach()) for name, each in parts.items()}
        return how.ce * (gradients * shown).sum() + rest, row

    def by_queries(
        self, raw: Float[Tensor, "n k y x"], images: Images, classes: Sequence[int], samples: Sequence[OrderedSample]
    ) -> tuple[Tensor, Row]:
        """Regress the maps of all the batch's classes on what a few random masks say of each."""
        size = (raw.shape[-2], raw.shape[-1])
        targets = [self.query_maps(image, classes, size, sample) for image, sample in zip(images, samples, strict=True)]
        loss = functional.mse_loss(raw, torch.stack(targets).to(raw))
        return loss, {"loss": float(loss.detach())}

    def query_maps(
        self, image: Image, classes: Sequence[int], size: tuple[int, int], sample: OrderedSample
    ) -> Float[Tensor, "k y x"]:
        """Return the covariance of mask and score at each pixel of the map, a class each, over the mask's variance."""
        how, scores, small = self.how, list[Tensor](), list[Tensor]()

        def keep_scores(rows: Probabilities) -> Scores:
            scores.append(rows[:, list(classes)].float())
            return rows[:, classes[0]]

        first = sample.position * how.masks
        canvas = (image.shape[-2], image.shape[-1])
        lots = masks.sample_grids(first + how.masks, canvas, how.cells, 0.5, self.loop.seed, start=first)
        baseline = fill.make_fill(how.fill, self.box, image, self.loop.seed)
        for _, shown, _ in loop.score_masked(self.box, image, keep_scores, lots, baseline, least=how.masks):
            small.append(functional.adaptive_avg_pool2d(shown[:, None].float(), size)[:, 0])
        return covariance(torch.cat(small), torch.cat(scores))

    def is_mirrored(self, sample: OrderedSample) -> bool:
        """Say whether a step sees its picture mirrored: half of them do."""
        random = torch.rand((), generator=seeding.generator(self.loop.seed, "mirror", sample.position))
        return self.how.mirror and bool(random < 0.5)

    def check(self, module: Any) -> Row:
        """Measure the maps of held-out pictures."""
        found: dict[str, list[float]] = {name: [] for name in MEASURES}
        for number in self.split.held:
            image = self.split.pictures[number].to(self.box.device)
            target = self.split.targets[number]
            with torch.no_grad():
                raw = module(self.source(image[None]), torch.tensor([self.row[target]], device=image.device)).float()
            case = Case(self.box, image, target, cams.enlarge(stretch(raw[:, 0]), image[None])[0])
            with share_scores():
                for name, spec in MEASURES.items():
                    found[name].append(specs.make_measure(spec)(case).value)
        row = {name: float(torch.tensor(values).nanmean()) for name, values in found.items()}
        return row | {"road": row["lerf"] - row["morf"]} if self.split.held else {}


def masked_gradient(
    box: OpenBox, images: Images, shown: Masks, targets: Sequence[int], baseline: str
) -> tuple[float, Masks]:
    """Return the cross-entropy of the batch seen through its masks, and its gradient at each mask's pixels.

    The box is differentiated here, to its input and no further: no gradient reaches its weights.
    """
    hidden = torch.stack([fill.make_fill(baseline, box, image) for image in images])
    visible = torch.lerp(hidden, images, shown.detach()[:, None])
    scores, gradients = shown.new_zeros(len(images)), torch.zeros_like(shown)
    for part, _, reading in introspect(box, visible, list(targets), [IMAGE], "log-probability"):
        scores[part] = reading.scores.to(shown)
        gradients[part] = (reading.gradients[IMAGE].to(shown) * (images - hidden)[part]).sum(1)
    return -float(scores.mean()), -gradients / len(images)


def covariance(shown: Masks, scores: Float[Tensor, "n k"]) -> Float[Tensor, "k h w"]:
    """Return Σ (m − m̄)(y − ȳ) / (n − 1), a map a class, in units in which first weights give maps of about 1.

    Over 1/4, the variance of a cell that is kept half of the time, it is what seeing a place adds to the score; a tenth
    is the unit. A network that had to shrink its maps first would be slow to learn.
    """
    centred = (scores - scores.mean(0)).to(shown)
    return torch.einsum("nk,nyx->kyx", centred, shown - shown.mean(0)) / (len(shown) - 1) / 0.25 / 0.1
