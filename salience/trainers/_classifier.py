"""A training of a classifier around a loss: which pictures, which weights, what is looked at, and the box that comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salience import registry
from salience.engine import chance, maps, modes, probe
from salience.engine.fit import Loop, Row, Tell, run
from salience.engine.pace import Pace
from salience.engine.visits import Visit
from salience.errors import BoxError
from salience.trainers import _classes, _result
from salience.trainers._pictures import Pictures, precise
from salience.trainers._slopes import label_slopes
from salience.trainers._step import Loss, Step

PROBED = 64  # held-out pictures whose maps are looked at


@dataclass(frozen=True)
class Course:
    """What of a box is trained, how fast, and on which of the pictures."""

    epochs: float | None = None  # times that all pictures are seen; wins over steps
    scratch: bool = False  # draw all weights anew first; otherwise go on from what the box has learnt
    only: tuple[str, ...] = ()  # train these modules only, by the beginnings of their names; none given: all
    rate: float = 1e-4  # the highest learning rate (1e-3 from scratch)
    decay: float = 1e-4  # weight decay
    mirror: bool = False  # show every other picture in the mirror
    shift: int = 0  # move every picture by up to so many pixels
    new_statistics: bool | None = None  # let batch norms learn theirs anew; none given: only from scratch
    held: float = 0.1  # the share of pictures that are held out, to look at while training

    def __post_init__(self) -> None:
        probe.expect_between("epochs", 1 if self.epochs is None else self.epochs, 0, None, open_ends=True)
        probe.expect_between("rate", self.rate, 0, None, open_ends=True)
        probe.expect_between("held", self.held, 0, 0.9)
        for name in ("decay", "shift"):
            probe.expect_between(name, getattr(self, name), 0, None)

    def over(self, loop: Loop, count: int) -> Loop:
        """Say epochs as steps."""
        return loop if self.epochs is None else replace(loop, steps=max(1, math.ceil(self.epochs * count / loop.batch)))


class Trains(Loss):
    """A loss with a training around it."""

    def fit(
        self,
        box: Any,
        data: Any,
        *,
        loop: Loop | None = None,
        course: Course | None = None,
        out: str | Path = "salience-train",
        tell: Tell = lambda *_: None,
    ) -> _result.Trained:
        """Train a copy of a box on labelled pictures, or go on where a run in the folder `out` was killed.

        `box` is a torch network or its spec, and stays as it is; `data` is a data set of pictures with one label each, or
        its spec. The folder then holds the weights, a card, and what `trained:OUT` needs to be a box again.
        """
        made: Any = registry.box(box)
        loop, course, out = loop or Loop(), course or Course(), Path(out)
        if not hasattr(made, "trainable"):
            raise BoxError(f"expected a torch network to train, got {made.name}: wrap the network itself")
        if getattr(made, "head", "softmax") not in ("softmax", "binary"):
            raise BoxError(f"expected a network with one right class a picture, got the head {made.head} of {made.name}")
        with probe.running(batch=Pace.of(made).start):
            pictures = Pictures(data, made)
            probe.settle(made, pictures[0])
        loop = replace(loop, precision=loop.precision or precise(made))
        said = {"trainer": registry.called(self), **asdict(self)}  # type: ignore[call-overload]  # every trainer is a dataclass
        lesson = _classes.decided(made, pictures, course.held, out, [said, asdict(course), asdict(loop)], loop.seed)
        pupil = made.redrawn(made.weighted() if course.scratch else (), seed=loop.seed)
        learner = Learner(self, pupil, lesson, course, course.over(loop, len(lesson.numbers)))
        before = learner.check(learner.module)
        history = run(learner, learner.loop, out, said, pupil.device, tell)
        return _result.written(box, made, pupil, self, course, learner.loop, lesson, [before, *history], out)


class Learner:
    """A batch's loss, and a look at held-out pictures."""

    watched = "accuracy"

    def __init__(self, how: Loss, box: Any, lesson: _classes.Lesson, course: Course, loop: Loop) -> None:
        self.how, self.box, self.lesson, self.course, self.loop = how, box, lesson, course, loop
        self.count = len(lesson.numbers)
        self.renewed = course.scratch if course.new_statistics is None else course.new_statistics
        self.module: nn.Module = box.trainable(course.only).to(memory_format=torch.channels_last)
        moving = [each for each in self.module.parameters() if each.requires_grad]
        self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(moving, lr=course.rate, weight_decay=course.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, course.rate, total_steps=max(2, loop.steps))
        self.schedule: torch.optim.lr_scheduler.LRScheduler = schedule

    def loss(self, module: nn.Module, visits: Sequence[Visit]) -> tuple[Tensor, Row]:
        """Return the loss of one batch."""
        if not self.renewed:
            modes.settle_norms(module)
        numbers = [self.lesson.numbers[visit.number] for visit in visits]
        images, labels = self.batch(numbers, [visit.place for visit in visits])
        first = visits[0].place
        chances = chance.generator(self.loop.seed, "training", first)
        done = first / (self.loop.steps * self.loop.batch)
        return self.how.step(Step(module, images, labels, progress=done, generator=chances))

    def batch(self, numbers: Sequence[int], places: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Prepare pictures; with places, as a training shows them."""
        shown = [self.lesson.pictures[number] for number in numbers]
        if places:
            shown = [self.varied(image, place) for image, place in zip(shown, places, strict=True)]
        images = torch.stack(shown).to(self.box.device, memory_format=torch.channels_last)
        return images, torch.tensor([self.lesson.labels[number] for number in numbers], device=images.device)

    def varied(self, image: Tensor, place: int) -> Tensor:
        """Mirror and move a picture by the chances of its place in the training; what comes in is the edge, repeated."""
        drawn = torch.rand(3, generator=chance.generator(self.loop.seed, "varied", place))
        image = image.flip(-1) if self.course.mirror and float(drawn[0]) < 0.5 else image
        by = self.course.shift
        if not by:
            return image
        down, right = (int(float(each) * (2 * by + 1)) for each in drawn[1:])
        wide = nn.functional.pad(image[None], (by, by, by, by), mode="replicate")[0]
        return wide[:, down : down + image.shape[1], right : right + image.shape[2]]

    def check(self, module: Any) -> Row:
        """Count right answers on held-out pictures, and say how sparse the maps of the first of them are."""
        held, size, right, sparse = self.lesson.held, self.loop.batch, 0, list[Tensor]()
        with modes.quiet(module):
            for begin in range(0, len(held), size):
                images, labels = self.batch(held[begin : begin + size])
                if begin < PROBED:
                    with torch.enable_grad():
                        slopes, logits = label_slopes(Step(module, images, labels))
                    sparse.append(maps.gini(slopes.abs().amax(1)).nan_to_num())
                else:
                    with torch.no_grad():
                        logits = module(images)
                right += int((logits.argmax(1) == labels).sum())
        return {"accuracy": right / len(held), "gini": float(torch.cat(sparse).mean())} if held else {}
