"""A training of a classifier around a loss: which pictures, which weights, what is logged, and the box that comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salience import registry, specs
from salience.engine import maps, seeding
from salience.engine.query.ask import choose_backend
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run
from salience.engine.training import modes
from salience.engine.training.history import Row
from salience.engine.training.loop import Loop, Tell, train
from salience.engine.training.sample_order import OrderedSample
from salience.errors import BoxError
from salience.trainers._classifier.config import TrainingConfig
from salience.trainers._classifier.gradients import label_gradients
from salience.trainers._classifier.loss import Loss, Step
from salience.trainers._classifier.output import Trained, write_result
from salience.trainers._classifier.split import Split, decide_split
from salience.trainers._pictures import Pictures, choose_precision
from salience.types import TrainableBox

WATCHED = 64  # held-out pictures whose maps are measured


class ClassifierTrainer(Loss):
    """A loss with a training around it."""

    def fit(
        self,
        box: Any,
        data: Any,
        *,
        loop: Loop | None = None,
        config: TrainingConfig | None = None,
        out: str | Path = "salience-train",
        tell: Tell = lambda *_: None,
    ) -> Trained:
        """Train a copy of a box on labelled pictures, or go on where a run in the folder `out` was killed.

        `box` is a torch network or its spec, and stays as it is; `data` is a data set of pictures with one label each, or
        its spec. The folder then holds the weights, a card, and what `trained:OUT` needs to be a box again.
        """
        made: Any = specs.open_box(box)
        loop, config, out = loop or Loop(), config or TrainingConfig(), Path(out)
        if not isinstance(made, TrainableBox):
            raise BoxError(f"expected a torch network to train, got {made.name}: wrap the network itself")
        if made.head not in ("softmax", "binary"):
            raise BoxError(f"expected a network with one right class a picture, got the head {made.head} of {made.name}")
        with start_run(batch=BatchSize.of(made).start):
            pictures = Pictures(data, made)
            choose_backend(made, pictures[0])
        loop = replace(loop, precision=loop.precision or choose_precision(made))
        said = {"trainer": registry.find_name(self), **asdict(self)}  # type: ignore[call-overload]  # every trainer is a dataclass
        split = decide_split(made, pictures, config.held, out, [said, asdict(config), asdict(loop)], loop.seed)
        student = made.reinitialise(made.list_weighted() if config.scratch else (), seed=loop.seed)
        learner = Learner(self, student, split, config, config.over(loop, len(split.numbers)))
        before = learner.check(learner.module)
        history = train(learner, learner.loop, out, said, student.device, tell)
        return write_result(box, made, student, self, config, learner.loop, split, [before, *history], out)


class Learner:
    """A batch's loss, and a check on held-out pictures."""

    watched = "accuracy"

    def __init__(self, how: Loss, box: Any, split: Split, config: TrainingConfig, loop: Loop) -> None:
        self.how, self.box, self.split, self.config, self.loop = how, box, split, config, loop
        self.count = len(split.numbers)
        self.renewed = config.scratch if config.new_statistics is None else config.new_statistics
        self.module: nn.Module = box.as_trainable(config.only).to(memory_format=torch.channels_last)
        moving = [each for each in self.module.parameters() if each.requires_grad]
        self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(moving, lr=config.rate, weight_decay=config.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, config.rate, total_steps=max(2, loop.steps))
        self.schedule: torch.optim.lr_scheduler.LRScheduler = schedule

    def loss(self, module: nn.Module, samples: Sequence[OrderedSample]) -> tuple[Tensor, Row]:
        """Return the loss of one batch."""
        if not self.renewed:
            modes.freeze_norms(module)
        numbers = [self.split.numbers[sample.picture] for sample in samples]
        images, labels = self.batch(numbers, [sample.position for sample in samples])
        first = samples[0].position
        generator = seeding.generator(self.loop.seed, "training", first)
        done = first / (self.loop.steps * self.loop.batch)
        return self.how.step(Step(module, images, labels, progress=done, generator=generator))

    def batch(self, numbers: Sequence[int], places: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Prepare pictures; with places, as a training shows them."""
        shown = [self.split.pictures[number] for number in numbers]
        if places:
            shown = [self.augment(image, place) for image, place in zip(shown, places, strict=True)]
        images = torch.stack(shown).to(self.box.device, memory_format=torch.channels_last)
        return images, torch.tensor([self.split.labels[number] for number in numbers], device=images.device)

    def augment(self, image: Tensor, place: int) -> Tensor:
        """Mirror and move a picture at random, by its place in the training; the edge is repeated where it moved away."""
        random = torch.rand(3, generator=seeding.generator(self.loop.seed, "varied", place))
        image = image.flip(-1) if self.config.mirror and float(random[0]) < 0.5 else image
        by = self.config.shift
        if not by:
            return image
        down, right = (int(float(each) * (2 * by + 1)) for each in random[1:])
        padded = nn.functional.pad(image[None], (by, by, by, by), mode="replicate")[0]
        return padded[:, down : down + image.shape[1], right : right + image.shape[2]]

    def check(self, module: Any) -> Row:
        """Count right answers on held-out pictures, and say how sparse the maps of the first of them are."""
        held, size, right, sparse = self.split.held, self.loop.batch, 0, list[Tensor]()
        with modes.evaluating(module):
            for begin in range(0, len(held), size):
                images, labels = self.batch(held[begin : begin + size])
                if begin < WATCHED:
                    with torch.enable_grad():
                        gradients, logits = label_gradients(Step(module, images, labels))
                    sparse.append(maps.gini(gradients.abs().amax(1)).nan_to_num())
                else:
                    with torch.no_grad():
                        logits = module(images)
                right += int((logits.argmax(1) == labels).sum())
        return {"accuracy": right / len(held), "gini": float(torch.cat(sparse).mean())} if held else {}
