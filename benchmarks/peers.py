"""Side by side with every peer: `uv run --group rivals python -m benchmarks.peers --box efficientnet-lite0`.

Each implementation of each task is a process of its own, for the allocator is the process's and a peer may crash: then its
row says so. Peers run as their users run them: float32, contiguous, the system's allocator, the batch that they come with
(32 where they have none). Ours runs in the backend that `auto` takes, once before with few passes so that backend and batch
are chosen, as a peer has its model built; then picture by picture in two backends of torch alone, which take the least
memory; and as peers run. Times are the clock's; memory is what the peak of the resident set rises by.
ρ compares a map with ours in the exact backend: of the same masks for ours, of other masks for peers.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from benchmarks import data, rivals, table
from benchmarks.inside import read_memory
from benchmarks.speed import open_photograph
from salience import registry, specs
from salience.case import Case
from salience.engine import maps
from salience.engine.query.ask import choose_backend, score_batch
from salience.engine.query.run import start_run
from salience.types import OpenBox

OURS, EXACT = "salience", "salience, as peers run"
OWN = {  # backend and batch
    OURS: ("auto", None),
    "salience, one by one in bfloat16": ("torch bfloat16", 1),
    "salience, one by one": ("exact", 1),
    EXACT: ("exact", 32),
}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {  # our method and settings; {masks} stands for --masks
    "rise": ("rise", {"masks": 0, "fill": "black"}),
    "occlusion": ("occlusion", {"window": 32, "stride": 16}),
    "lime": ("lime", {"masks": 0}),
    "kernel-shap": ("kernel-shap", {"masks": 0}),
    "score-cam": ("score-cam", {}),
    "grad-cam": ("grad-cam", {}),
    "integrated-gradients": ("integrated-gradients", {"steps": 50, "baseline": "black", "channels": "max-abs"}),
    "deletion and insertion": ("grad-cam", {}),
    "road": ("grad-cam", {}),
}
MEASURES = {"deletion and insertion": ("deletion", "insertion"), "road": ("road/morf-2022",)}


def main() -> None:
    """Run every implementation of every task in turn, and print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    options.add_argument("--masks", type=int, default=1000)
    options.add_argument("--tasks", default="", help="with commas; none: all")
    options.add_argument("--peers", help="with commas, to run beside ours; none: all; '-': none")
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--alone", nargs=3, metavar=("TASK", "IMPLEMENTATION", "FILE"), help="one run")
    given = options.parse_args()
    if given.alone:
        torch.set_num_threads(given.threads)
        print(json.dumps(measure_one(given.box, *given.alone, given.masks)))
        return
    torch.set_num_threads(given.threads)
    words = f"{given.box}, a photograph, its likeliest class, {given.masks:,} masks where masks are sampled"
    print(table.format_heading(None, words))
    print("| task | implementation | passes | seconds | beside salience | ms a pass | extra memory, MB | ρ with exact |")
    print("|---" * 8 + "|")
    for task in given.tasks.split(",") if given.tasks else TASKS:
        print_task(task, given)


def print_task(task: str, given: argparse.Namespace) -> None:
    """Print a row for each implementation; ours first."""
    peers = [entry for entry in rivals.PEERS[task] if given.peers is None or entry in given.peers.split(",")]
    with tempfile.TemporaryDirectory() as place:
        files = {entry: Path(place) / f"{number}.pt" for number, entry in enumerate([*OWN, *peers])}
        rows: dict[str, list[dict[str, Any]]] = {entry: [] for entry in files}
        for _ in range(given.rounds):
            for entry, file in files.items():
                rows[entry].append(run_process(task, entry, file, given))
        truth = torch.load(files[EXACT]) if files[EXACT].exists() else None
        ours = min(row.get("seconds", float("nan")) for row in rows[OURS])
        for entry, file in files.items():
            row = min(rows[entry], key=lambda each: each.get("seconds", float("inf")))
            if "failed" in row:
                print(f"| {task} | {entry} | | failed: {row['failed']} | | | | |", flush=True)
                continue
            found = torch.load(file)
            alike = f"{maps.rank_agreement(found, truth):.4f}" if truth is not None and found.shape == truth.shape else "–"
            name = entry if entry in peers else f"{entry} ({row['backend']})"
            cells = [f"{row['passes']:,}", f"{row['seconds']:.2f}", f"{row['seconds'] / ours:.1f} ×"]
            cells += [f"{1e3 * row['seconds'] / max(1, row['passes']):.1f}", f"{row['extra']:,.0f}", alike]
            print(f"| {task} | {name} | {' | '.join(cells)} |", flush=True)


def run_process(task: str, entry: str, file: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run one implementation in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers", "--box", given.box, "--masks", str(given.masks)]
    command += ["--threads", str(given.threads), "--alone", task, entry, str(file)]
    env = os.environ | ({"SALIENCE_MALLOC": "system"} if entry == EXACT or entry not in OWN else {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
        return {"failed": said[:160].replace("|", "/")}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_one(name: str, task: str, entry: str, file: str, masks: int) -> dict[str, Any]:
    """Make one map, or measure one, and say what it cost."""
    warnings.simplefilter("ignore")
    backend, batch = OWN.get(entry, ("exact", None))
    box: Any = data.BOXES[name](backend)
    image = open_photograph(box)
    target = int(score_batch(box, image[None])[0].argmax())
    method, settings = TASKS[task]
    made = registry.make_method(method, **{key: masks if key == "masks" else value for key, value in settings.items()})
    asked = rivals.Task(box, image, target, masks, counted=entry not in OWN)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free already would hide what an implementation takes
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    start = read_memory("VmRSS")
    if entry in OWN and (task in MEASURES or registry.find_need(type(made)) is not OpenBox):
        warm_up(box, image, batch)  # its memory counts, its time is paid once for a box
    saliency = made(box, image, target) if task in MEASURES else None
    asked.saliency = saliency
    began = time.perf_counter()
    with redirect_stdout(sys.stderr), start_run(batch=batch) as run:
        if entry not in OWN:
            found = rivals.PEERS[task][entry](asked)
        elif saliency is None:
            found = made(box, image, target)
        else:
            for spec in MEASURES[task]:
                specs.make_measure(spec)(Case(box, image, target, saliency))
            found = saliency
    seconds = time.perf_counter() - began
    torch.save(torch.as_tensor(found).float(), file)
    passes = run.passes if entry in OWN else asked.passes
    return {"passes": passes, "seconds": seconds, "extra": read_memory("VmHWM") - start, "backend": box.backend}


def warm_up(box: Any, image: Any, batch: int | None) -> None:
    """Let box and pace make their choices."""
    choose_backend(box, image)
    for _ in range(1 if batch else 4):
        with start_run(batch=batch):
            registry.make_method("rise", masks=128)(box, image, 0)


if __name__ == "__main__":
    main()
