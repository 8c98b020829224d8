"""Speed of the measures, beside the passes alone and beside other libraries, in one run: `python -m benchmarks.measures`.

Each implementation is a process of its own, for the allocator is the process's. The peers run as their users run them:
float32, contiguous, the system's allocator, torchcam in its batches of 32, Quantus picture by picture. Ratios are medians
over rounds in which they take turns. Times are the processor's, on one thread, for cores may be shared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import data, table
from benchmarks.speed import choose_batch_size
from salience.case import Case
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run
from salience.measures import _curves, _impute
from salience.measures.deletion import Deletion
from salience.measures.insertion import Insertion
from salience.methods.grad_cam import GradCam
from salience.picture import read

PEERS = {"torchcam": "torchcam's DeletionInsertionMetric, 224 steps", "quantus": "Quantus' PixelFlipping, 384 steps"}


def main() -> None:
    """Measure everything and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--alone", choices=["ours", *PEERS], help="one implementation, as JSON")
    given = options.parse_args()
    torch.set_num_threads(1)
    if given.alone:
        print(json.dumps({"ours": time_curves, "torchcam": time_torchcam, "quantus": time_quantus}[given.alone]()))
        return
    print(
        table.format_heading(
            None, f"one photograph, efficientnet-lite0, the likeliest class, {given.rounds} rounds, processor time"
        )
    )
    print("| what | passes | ms a pass | beside | wanted |\n|---|---|---|---|---|")
    rounds = [{entry: run_process(entry) for entry in ("ours", *PEERS)} for _ in range(given.rounds)]
    backend = rounds[0]["ours"]["backend"]
    box_alone = median(each["ours"]["alone"] for each in rounds)
    print(f"| the box alone on ready batches, {backend} | 450 | {box_alone:.2f} | 1 |  |")
    whole = median(each["ours"]["ms"] for each in rounds)
    over = median(each["ours"]["ms"] / each["ours"]["alone"] for each in rounds)
    print(f"| insertion and deletion, rise-2018, {backend} | 450 | {whole:.2f} | {over:.3f} × the passes | at most 1.1 × |")
    for entry, words in PEERS.items():
        rows = [each[entry] for each in rounds]
        if "failed" in rows[0]:
            print(f"| {words} | | | failed: {rows[0]['failed']} | at least 4 × |")
            continue
        slow = median(row["ms"] for row in rows)
        ratio = median(row["ms"] / each["ours"]["ms"] for row, each in zip(rows, rounds, strict=True))
        print(f"| {words}, float32 | {rows[0]['passes']} | {slow:.2f} | ours is {ratio:.1f} × as fast | at least 4 × |")
    print()
    print_imputation()


def run_process(entry: str) -> dict[str, Any]:
    """Measure one implementation in a fresh process."""
    system = {} if entry == "ours" else {"SALIENCE_MALLOC": "system"}
    command = [sys.executable, "-m", "benchmarks.measures", "--alone", entry]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | system)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def explain_example(backend: str = "auto") -> Case:
    """Explain a photograph by Grad-CAM."""
    box: Any = data.BOXES["efficientnet-lite0"](backend)
    image, _ = box.preparation(read(data.list_photographs()[29]))
    top = int(box(image[None])[0].argmax())
    return Case(box, image, top, GradCam()(box, image, top))


def time_curves() -> dict[str, Any]:
    """Take each curve, and then as many passes of the box alone, in the same process and batches."""
    case = explain_example()
    choose_batch_size(case.box, case.image)
    batch = BatchSize.of(case.box).best
    plain = case.image.expand(batch, -1, -1, -1).contiguous()
    spent, passes = [0.0, 0.0], 0
    for measure in (Insertion(), Deletion()):
        began = time.process_time()
        with start_run() as run:
            measure(case)
        middle = time.process_time()
        for done in range(0, run.passes, batch):
            case.box(plain[: run.passes - done])
        spent = [spent[0] + middle - began, spent[1] + time.process_time() - middle]
        passes += run.passes
    whole, alone = (each / passes * 1e3 for each in spent)
    return {"ms": whole, "alone": alone, "passes": passes, "backend": f"{case.box.backend}, batches of {batch}"}


def time_peer(task: Callable[[Case, Any, Tensor], None]) -> dict[str, Any]:
    """Count the passes of another library, and time them after one pass to warm up."""
    case = explain_example("exact")
    box: Any = case.box
    mean, std = (torch.tensor(each)[:, None, None] for each in (box.preparation.mean, box.preparation.std))
    ready, module, passes = ((case.image - mean) / std)[None], box.module.eval(), 0

    def count(_module: Any, given: Any) -> None:
        nonlocal passes
        passes += len(given[0])

    with torch.inference_mode():
        module(ready)
    handle = module.register_forward_pre_hook(count)
    began = time.process_time()
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        task(case, module, ready)
    seconds = time.process_time() - began
    handle.remove()
    return {"ms": seconds / passes * 1e3, "passes": passes}


def time_torchcam() -> dict[str, Any]:
    """Run torchcam's metric on a map that is there already."""
    from torchcam.metrics import DeletionInsertionMetric

    class Given:
        _hooks_off = staticmethod(nullcontext)

        def __init__(self, case: Case, module: Any) -> None:
            self.model, self.saliency = module, case.saliency[None]

        def __call__(self, *_args: object, **_options: object) -> list[Tensor]:
            return [self.saliency]

        def fuse_cams(self, cams: list[Tensor]) -> Tensor:
            return cams[0]

    def task(case: Case, module: Any, ready: Tensor) -> None:
        extractor: Any = Given(case, module)
        with torch.no_grad():
            DeletionInsertionMetric(extractor, lambda raw: raw.softmax(-1), steps=224).update(ready, case.target)

    return time_peer(task)


def time_quantus() -> dict[str, Any]:
    """Run Quantus' metric on the same map, 392 of the 3 · 224² values a step."""
    from quantus import PixelFlipping

    def task(case: Case, module: Any, ready: Tensor) -> None:
        metric = PixelFlipping(features_in_step=392, disable_warnings=True)
        saliency = case.saliency[None, None].numpy().astype(np.float32)
        metric(module, ready.numpy(), np.array([case.target]), saliency, softmax=True, device="cpu", channel_first=True)

    return time_peer(task)


def print_imputation() -> None:
    """Fill one photograph at ten levels on one thread, and compare it with scipy's direct solver."""
    case = explain_example()
    print(
        table.format_heading(None, "ROAD's imputation of one photograph, 224 × 224, at 5, 15 … 95 % removed, processor time")
    )
    print("| order | seconds for ten levels | wanted | scipy's spsolve | largest difference |\n|---|---|---|---|---|")
    random = torch.rand(224, 224, generator=torch.Generator().manual_seed(0))
    maps = {"Grad-CAM's, most relevant first": case.saliency, "its reverse": -case.saliency, "random": random}
    _impute.impute_linear(case.image, random[None] < 0.5, case.box.mean)
    for name, saliency in maps.items():
        ranks = _curves.rank(saliency)
        removed = torch.stack([ranks < round((0.05 + level / 10) * ranks.numel()) for level in range(10)])
        began = time.process_time()
        filled = _impute.impute_linear(case.image, removed, case.box.mean)
        middle = time.process_time()
        known = torch.stack([solve_directly(case.image, each) for each in removed])
        ended = time.process_time()
        gap = float((filled - known).abs().max())
        print(f"| {name} | {middle - began:.2f} | below 1 | {ended - middle:.1f} | {gap:.0e} |")


def solve_directly(image: Tensor, removed: Tensor) -> Tensor:
    """Solve the same equations by scipy."""
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import spsolve

    number = torch.full(removed.shape, -1)
    number[removed] = torch.arange(int(removed.sum()))
    wide, colours = functional.pad(number, (1, 1, 1, 1), value=-2), functional.pad(image.double(), (1, 1, 1, 1))
    own, right, entries = torch.zeros(int(removed.sum())), torch.zeros(int(removed.sum()), 3, dtype=torch.float64), []
    for y, x in [(b, a) for b in range(3) for a in range(3) if (b, a) != (1, 1)]:
        weight = 2.0 if 1 in (y, x) else 1.0
        other, seen = (each[..., y : y + removed.shape[0], x : x + removed.shape[1]] for each in (wide, colours))
        beside = other[removed]
        own += weight * (beside > -2)
        right += weight * seen[:, removed].T * (beside == -1)[:, None]
        rows = torch.nonzero(beside >= 0)[:, 0]
        entries.append(torch.stack([rows.double(), beside[rows].double(), torch.full((len(rows),), -weight).double()]))
    at = torch.arange(len(own)).double()
    row, column, value = torch.cat([*entries, torch.stack([at, at, own.double()])], 1).numpy()
    system = csc_matrix((value, (row.astype(int), column.astype(int))))
    filled = image.double().clone()
    filled[:, removed] = torch.from_numpy(spsolve(system, right.numpy())).T
    return filled


if __name__ == "__main__":
    main()
