"""The training loop that all trainers share, on `accelerate`: devices, precision, accumulation, checkpoints, trackers.

Which pictures a step sees is computed from the seed and the step's number, never kept, so a run that was killed goes on
exactly: a checkpoint holds weights, optimiser, schedule and random states, and nothing else is needed.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from typing_extensions import Doc

from salience import files
from salience.engine import validate
from salience.engine.training.folder_lock import lock_folder
from salience.engine.training.history import History, Row
from salience.engine.training.sample_order import OrderedSample, list_samples
from salience.errors import RecordError, SettingError

Tell = Callable[[int, int, Row], None]
"""Called after every step with its number, how many there will be, and its figures."""


@dataclass(frozen=True)
class Loop:
    """How long a network is trained, on what, and what is kept on the way.

    >>> Loop(steps=100, batch=16).check
    200
    >>> Loop(batch=9, accumulate=2)
    Traceback (most recent call last):
        ...
    salience.errors.SettingError: expected a batch of equal parts, got 9 in 2: change accumulate
    """

    steps: Annotated[int, Doc("steps of the optimiser")] = 1000
    batch: Annotated[int, Doc("pictures a step, on all devices together")] = 32
    accumulate: Annotated[
        int, Doc("parts that a batch is cut into and worked on one after the other, where memory is short")
    ] = 1
    precision: Annotated[
        str | None, Doc("no, bf16 or fp16; none given: bf16 where the box is quicker in it and agrees, else no")
    ] = None
    save: Annotated[int, Doc("steps between two checkpoints")] = 100
    check: Annotated[int, Doc("steps between two looks at held-out pictures; 0: none")] = 200
    patience: Annotated[int | None, Doc("stop after so many looks without a better figure; none given: go to the end")] = (
        None
    )
    track: Annotated[str | None, Doc("a tracker of accelerate that figures go to, such as tensorboard")] = None
    seed: Annotated[int, Doc("of first weights, order, mirroring and masks")] = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("accumulate", 1), ("save", 1), ("check", 0), ("patience", 1)):
            validate.expect_between(name, getattr(self, name), least, None)
        if self.batch % self.accumulate:
            raise SettingError(f"expected a batch of equal parts, got {self.batch} in {self.accumulate}: change accumulate")
        if self.precision not in (None, "no", "bf16", "fp16"):
            raise SettingError(f"expected precision no, bf16 or fp16, got {self.precision!r}")


@runtime_checkable
class Learner(Protocol):
    """What is trained, and on what."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    count: int  # pictures to learn from
    watched: str  # the figure of `check` that early stopping watches; higher is better

    def loss(self, module: nn.Module, samples: Sequence[OrderedSample]) -> tuple[Tensor, Row]:
        """Return what is to be made small, and figures to keep."""
        ...

    def check(self, module: nn.Module) -> Row:
        """Look at held-out pictures."""
        ...


def train(learner: Learner, loop: Loop, out: Path, about: Mapping[str, Any], device: torch.device, tell: Tell) -> list[Row]:
    """Train to the end, or go on from the last checkpoint in `out`; return a row of figures a step.

    >>> from tempfile import TemporaryDirectory
    >>> class Line:  # learns that the answer is 0
    ...     module, count, watched = nn.Linear(1, 1), 4, "loss"
    ...     optimiser = torch.optim.SGD(module.parameters())
    ...     schedule = torch.optim.lr_scheduler.ConstantLR(optimiser)
    ...     def loss(self, module, samples):
    ...         loss = module(torch.ones(1, 1)).square().sum()
    ...         return loss, {"loss": loss.item()}
    ...     def check(self, module):
    ...         return {}
    >>> with TemporaryDirectory() as folder:
    ...     rows = train(Line(), Loop(steps=2, batch=1), Path(folder), {}, torch.device("cpu"), lambda *progress: None)
    >>> [row["step"] for row in rows]
    [1, 2]
    """
    files.make_folder(out)
    with _accelerator(loop, out, device) as accelerator, lock_folder(out, main=accelerator.is_main_process):
        module, optimiser = accelerator.prepare(learner.module, learner.optimiser)
        accelerator.register_for_checkpointing(learner.schedule)
        done = _resume(accelerator, out)
        history = History(out / "history.jsonl", done, main=accelerator.is_main_process)
        if loop.track:
            accelerator.init_trackers("salience", {key: value for key, value in about.items() if _plain(value)})
        for step in range(done, loop.steps):
            if _has_stalled(history.rows, learner.watched, loop.patience):
                break
            began = time.perf_counter()
            row = _step(accelerator, learner, module, optimiser, loop, step)
            if loop.check and ((step + 1) % loop.check == 0 or step + 1 == loop.steps):
                module.eval()
                row |= learner.check(accelerator.unwrap_model(module))
            history.add({"step": step + 1} | row | {"seconds": time.perf_counter() - began})
            if loop.track:
                accelerator.log(row, step=step + 1)
            tell(step + 1, loop.steps, row)
            if (step + 1) % loop.save == 0 or step + 1 == loop.steps:
                _save(accelerator, out, step + 1, history)
        accelerator.end_training()
        accelerator.unwrap_model(module, keep_fp32_wrapper=False).eval()
    return history.rows


def _step(accelerator: Any, learner: Learner, module: nn.Module, optimiser: Any, loop: Loop, step: int) -> Row:
    """Take one step: each process works on its share of each part of the batch."""
    module.train()
    seen = list_samples(step, loop.batch, learner.count, loop.seed)
    size = loop.batch // loop.accumulate
    rows: list[Row] = []
    for begin in range(0, loop.batch, size):
        part = seen[begin : begin + size][accelerator.process_index :: accelerator.num_processes]
        with accelerator.accumulate(module):
            with accelerator.autocast():
                loss, row = learner.loss(module, part)
            if not math.isfinite(row["loss"]):
                raise SettingError(f"expected a finite loss, got {row['loss']} in step {step + 1}: lower the rate")
            accelerator.backward(loss)
            optimiser.step()
            optimiser.zero_grad()
        rows.append(row)
    rate = float(learner.schedule.get_last_lr()[0])
    if step + 1 < loop.steps:  # a schedule of n steps is at its end before the last of them
        learner.schedule.step()
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]} | {"rate": rate}


@contextmanager
def _accelerator(loop: Loop, out: Path, device: torch.device) -> Iterator[Any]:
    """Make accelerate's accelerator, and forget its process-wide state afterwards: the next run may want another."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    made = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=loop.precision or "no",
        gradient_accumulation_steps=loop.accumulate,
        log_with=loop.track,
        project_dir=str(out),
    )
    try:
        yield made
    finally:
        made.free_memory()
        AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001  # accelerate has no other way


def _save(accelerator: Any, out: Path, step: int, history: History) -> None:
    """Write a checkpoint whole or not at all, then drop the older ones."""
    part = out / "checkpoints" / ".part"
    try:
        if accelerator.is_main_process:
            shutil.rmtree(part, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(part), safe_serialization=True)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            older = list(part.parent.glob("step-*"))
            history.sync()
            files.sync_tree(part)
            part.rename(part.with_name(f"step-{step:08}"))
            files.sync_folder(part.parent)  # the older ones go when this one is there for good
            for each in older:
                shutil.rmtree(each)
    except (OSError, RuntimeError, SafetensorError) as problem:  # torch and safetensors say a full disk in ways of their own
        said = " ".join(str(problem).split())[:200]
        raise RecordError(
            f"expected to write a checkpoint into {out}, got {said}: make room or put the folder back, and run again"
        ) from problem


def _resume(accelerator: Any, out: Path) -> int:
    found = sorted((out / "checkpoints").glob("step-*"))
    if not found:
        return 0
    try:
        accelerator.load_state(str(found[-1]))
    except Exception as problem:
        said = " ".join(str(problem).split())[:200]
        raise RecordError(f"expected a checkpoint of this run in {found[-1]}, got {said}: choose another --out") from problem
    return int(found[-1].name.removeprefix("step-"))


def _has_stalled(rows: Sequence[Row], watched: str, patience: int | None) -> bool:
    figures = [row[watched] for row in rows if watched in row]
    return patience is not None and len(figures) > patience and max(figures[-patience:]) <= max(figures[:-patience])


def _plain(value: object) -> bool:
    return isinstance(value, (bool, int, float, str))
