"""The training loop: the order of pictures, accumulation, early stop, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.engine.training.folder_lock import lock_folder
from salience.engine.training.loop import Loop, Tell, train
from salience.engine.training.sample_order import OrderedSample, list_samples
from salience.errors import RecordError, SettingError
from tests.helpers import apart, noise

ROOT = Path(__file__).parents[2]
LOOP = Loop(steps=12, batch=4, save=5, check=0)


class Line:
    """Fit a line to points, with dropout, so that random states matter too."""

    watched = "figure"

    def __init__(self, steps: int = 12, figures: Sequence[float] = (0.0,)) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 1))
        self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, max_lr=0.01, total_steps=steps)
        self.schedule: torch.optim.lr_scheduler.LRScheduler = schedule
        self.points, self.count = noise(10, 3, dtype=torch.float32), 10
        self.figures, self.seen = list(figures), list[int]()

    def loss(self, module: nn.Module, samples: Sequence[OrderedSample]) -> tuple[Tensor, dict[str, float]]:
        """Ask for the sum of the coordinates."""
        self.seen += [sample.picture for sample in samples]
        points = self.points[[sample.picture for sample in samples]]
        loss = (module(points)[:, 0] - points.sum(1)).square().mean()
        return loss, {"loss": float(loss.detach())}

    def check(self, module: nn.Module) -> dict[str, float]:
        """Tell the next figure."""
        assert not module.training
        return {"figure": self.figures.pop(0)}


def ran(learner: Any, loop: Loop, out: Path, tell: Tell = lambda *_: None) -> list[dict[str, float]]:
    """Run the loop on the CPU."""
    return plain(train(learner, loop, out, {}, torch.device("cpu"), tell))


def plain(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Leave out what a clock says."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_an_epoch_sees_every_picture_once_and_the_next_in_another_order() -> None:
    """Steps need not end where epochs do."""
    seen = [sample for step in range(6) for sample in list_samples(step, 5, 10, seed=0)]
    epochs = [[sample.picture for sample in seen[begin : begin + 10]] for begin in (0, 10, 20)]
    assert all(sorted(each) == list(range(10)) for each in epochs)
    assert epochs[0] != epochs[1]
    assert [sample.position for sample in seen] == list(range(30))


def test_a_run_that_is_interrupted_goes_on_exactly(tmp_path: Path) -> None:
    """Weights, moments, schedule and random states come back; what came after the checkpoint is done again alike."""
    whole = ran(learner := Line(), LOOP, tmp_path / "whole")

    def stop(step: int, _steps: int, _row: dict[str, float]) -> None:
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran(Line(), LOOP, tmp_path / "cut", stop)
    torch.manual_seed(99)
    assert ran(again := Line(), LOOP, tmp_path / "cut") == whole
    assert all(torch.equal(a, b) for a, b in zip(learner.module.parameters(), again.module.parameters(), strict=True))
    lines = (tmp_path / "cut" / "history.jsonl").read_text().splitlines()
    assert plain([json.loads(line) for line in lines]) == whole


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.engine.training.test_loop import LOOP, Line, ran
ran(Line(), LOOP, Path(sys.argv[1]), lambda step, steps, row: os.kill(os.getpid(), signal.SIGKILL) if step == 8 else None)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_exactly(tmp_path: Path) -> None:
    """Nothing can be tidied up then: the last whole checkpoint must do."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "cut")], cwd=ROOT, env=os.environ, check=False)  # noqa: S603  # ourselves
    assert done.returncode == -signal.SIGKILL
    assert len((tmp_path / "cut" / "history.jsonl").read_text().splitlines()) == 8
    torch.set_num_threads(1)
    assert ran(Line(), LOOP, tmp_path / "cut") == ran(Line(), LOOP, tmp_path / "whole")


def test_a_batch_in_parts_is_a_batch(tmp_path: Path) -> None:
    """Two halves one after the other make the step that both make together."""
    made = []
    for parts in (1, 2):
        learner = Line()
        learner.module[1].p = 0.0  # type: ignore[union-attr, assignment]  # dropout would draw twice
        ran(learner, replace(LOOP, accumulate=parts), tmp_path / str(parts))
        made.append(torch.cat([each.detach().flatten() for each in learner.module.parameters()]))
    assert apart(*made) < 1e-6


def test_a_run_stops_when_no_better_figure_comes(tmp_path: Path) -> None:
    """After two looks without one; the best was the second."""
    learner = Line(figures=[0.1, 0.5, 0.4, 0.5, 0.9])
    rows = ran(learner, replace(LOOP, check=2, patience=2), tmp_path)
    assert len(rows) == 8
    assert learner.figures == [0.9]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    """Its figures are read."""
    rows = ran(Line(), LOOP, tmp_path)
    learner = Line()
    assert ran(learner, LOOP, tmp_path) == rows
    assert learner.seen == []


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    """The second one writes nothing; once the first has ended it goes on from there."""
    with lock_folder(tmp_path), pytest.raises(RecordError, match="another one writes to"):
        ran(Line(), LOOP, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]
    assert len(ran(Line(), LOOP, tmp_path)) == LOOP.steps


def test_figures_go_to_a_tracker(tmp_path: Path) -> None:
    """TensorBoard's, through accelerate."""
    ran(Line(), replace(LOOP, steps=3, track="tensorboard"), tmp_path)
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    """It would never come back."""
    learner = Line()
    learner.points[3] = float("nan")
    with pytest.raises(SettingError, match="expected a finite loss, got nan in step"):
        ran(learner, LOOP, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "expected 1 ≤ steps, got 0"),
        ({"batch": 5, "accumulate": 2}, "expected a batch of equal parts, got 5 in 2: change accumulate"),
        ({"precision": "int8"}, "expected precision no, bf16 or fp16, got 'int8'"),
    ],
)
def test_a_wrong_loop_is_one_sentence(wrong: dict[str, Any], said: str) -> None:
    """Before anything is loaded."""
    with pytest.raises(SettingError, match=said):
        Loop(**wrong)
