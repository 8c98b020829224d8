"""Speed and memory of the methods that look inside, beside torchcam, in one run: `python -m benchmarks.inside`.

Each measurement is a process of its own, for the allocator is the process's. torchcam and the plain loop run as their
users run them: float32, contiguous, batch 32, the system's allocator. Memory is what the peak of the resident set
rises by while the map is made, after one warm-up pass. `--memory` makes 1,000 calls of every method on a toy.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import salience
from benchmarks import data, table
from salience import registry
from salience.boxes import toy
from salience.boxes.torch import TorchBox
from salience.engine import maps
from salience.engine.query import allocator
from salience.engine.query.ask import choose_backend, score_batch
from salience.engine.query.run import start_run
from salience.methods.ada_sise import AdaSise
from salience.methods.grad_cam import GradCam
from salience.methods.score_cam import ScoreCam
from salience.methods.sise import Sise
from salience.picture import read
from salience.types import OpenBox

PAIRS = (("torchcam score-cam", "score-cam"), ("plain sise", "sise"))  # the peer, then ours


def main() -> None:
    """Measure everything and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--boxes", default="efficientnet-lite0,vgg16")
    options.add_argument("--pictures", type=int, default=200, help="for Grad-CAM over a folder")
    options.add_argument("--alone", nargs=3, metavar=("BOX", "IMPLEMENTATION", "FILE"), help="one run; its map goes to FILE")
    options.add_argument("--memory", action="store_true")
    given = options.parse_args()
    if given.alone:
        print(json.dumps(measure_one(*given.alone)))
        return
    if given.memory:
        print_memory_growth()
        return
    print(table.format_heading(None, "one photograph, the likeliest class"))
    print("| box | implementation | passes | seconds | beside the peer | extra memory, MB | ρ with the peer's map |")
    print("|---" * 7 + "|")
    for box in given.boxes.split(","):
        for first, *others in PAIRS:
            print_comparison(box, first, others)
    print()
    print_savings(given.boxes.split(","))
    print()
    compare_folder(given.pictures)


def print_comparison(box: str, first: str, others: list[str]) -> None:
    """Print a line for each implementation; the first is the peer's."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "map.pt"
        peer: dict[str, Any] = {}
        for entry in (first, *others):
            system = {"SALIENCE_MALLOC": "system"} if entry == first else {}
            command = [sys.executable, "-m", "benchmarks.inside", "--alone", box, entry, str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | system)
            row = json.loads(done.stdout.splitlines()[-1])
            row["map"] = torch.load(file)
            peer = peer or row
            alike, faster = maps.rank_agreement(row["map"], peer["map"]), peer["seconds"] / row["seconds"]
            cells = (f"{row['passes']:,}", f"{row['seconds']:.1f}", f"{faster:.1f} ×", f"{row['extra']:.0f}", f"{alike:.4f}")
            print(f"| {box} | {entry} {row['backend']} | {' | '.join(cells)} |")


def measure_one(name: str, entry: str, file: str) -> dict[str, Any]:
    """Make one map, and say what it cost."""
    box: Any = data.BOXES[name](backend="auto" if entry == entry.split(maxsplit=1)[0] else "exact")
    image, _ = box.preparation(
        read(data.list_photographs()[29] if name != "vgg16" else data.read_cases("imagenette")[0].file)
    )
    top = int(score_batch(box, image[None])[0].argmax())
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    start = read_memory("VmRSS")
    choose_backend(box, image)  # its memory counts, its time is paid once for a box
    layer = box.layers()[-1]
    task: Callable[[], tuple[Tensor, int]] = {
        "torchcam": lambda: run_torchcam(box, image, top, layer),
        "plain": lambda: run_method(Sise(), box, image, top, batch=32),
        "score-cam": lambda: run_method(ScoreCam(), box, image, top),
        "sise": lambda: run_method(Sise(), box, image, top),
    }[entry.split(maxsplit=1)[0]]
    began = time.perf_counter()
    saliency, passes = task()
    seconds = time.perf_counter() - began
    torch.save(saliency.float(), file)
    return {"passes": passes, "seconds": seconds, "extra": read_memory("VmHWM") - start, "backend": f"({box.backend})"}


def run_method(method: Any, box: OpenBox, image: Tensor, top: int, batch: int | None = None) -> tuple[Tensor, int]:
    """Explain with this library."""
    with start_run(batch=batch) as run:
        return method(box, image, top), run.passes


def run_torchcam(box: TorchBox, image: Tensor, top: int, layer: str) -> tuple[Tensor, int]:
    """Explain with torchcam: all channels, batches of 32."""
    from torchcam.methods import ScoreCAM

    module = box.module.eval()
    mean, std = (torch.tensor(each)[:, None, None] for each in (box.preparation.mean, box.preparation.std))
    ready = ((image - mean) / std)[None]
    with ScoreCAM(module, layer, batch_size=32, input_shape=tuple(ready.shape[1:])) as extractor:
        with torch.inference_mode():
            module(ready)
        small = extractor(class_idx=top)[0]
    return maps.resize(small[0], box.size), 1 + box.activations(image[None], [layer])[layer].shape[1]


def print_savings(boxes: list[str]) -> None:
    """Say what μ and Ada-SISE save, each run on its own."""
    methods = {f"sise, μ = {mu:g}": Sise(mu) for mu in (0, 0.3, 0.5, 0.75)} | {"ada-sise": AdaSise()}
    print("| box | method | passes | seconds | of μ = 0, passes | of μ = 0, seconds |\n|---|---|---|---|---|---|")
    for name in boxes:
        box: Any = data.BOXES[name]()
        files = [case.file for case in data.read_cases("imagenette")][: 3 if name != "vgg16" else 1]
        images = [box.preparation(read(file))[0] for file in files]
        run_method(AdaSise(), box, images[0], 0)  # backend, layers, batch size
        spent: list[tuple[int, float]] = []
        for called, method in methods.items():
            began = time.perf_counter()
            passes = sum(run_method(method, box, each, int(box(each[None])[0].argmax()))[1] for each in images)
            spent.append((passes, time.perf_counter() - began))
            shares = " | ".join(f"{now / first:.0%}" for now, first in zip(spent[-1], spent[0], strict=True))
            print(f"| {name} | {called} | {passes / len(images):.0f} | {spent[-1][1] / len(images):.2f} | {shares} |")


def read_memory(field: str) -> float:
    """Read a line of this process's status, in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def compare_folder(count: int) -> None:
    """Compare Grad-CAM over many pictures with the network's own forward and backward passes to that layer."""
    box: Any = data.BOXES["efficientnet-lite0"]()
    files = data.list_photographs()[:count]
    images = torch.stack([box.preparation(read(file))[0] for file in files])
    targets = [int(k) for part in images.split(16) for k in box(part).argmax(1)]
    layer, inner = box.layers()[-1], dict(box.module.named_modules())[box.layers()[-1]]
    mean, std = (torch.tensor(each)[:, None, None] for each in (box.preparation.mean, box.preparation.std))
    allocator.keep_freed_memory()

    def time_plain(batch: int) -> float:
        box.module.eval()
        seen: list[Tensor] = []
        handle = inner.register_forward_hook(lambda _module, _given, gave: seen.append(gave))
        began = time.perf_counter()
        for part, aims in zip(((images - mean) / std).split(batch), torch.tensor(targets).split(batch), strict=True):
            logits = box.module(part)
            torch.autograd.grad(logits.gather(1, aims[:, None]).sum(), [seen.pop()])
        handle.remove()
        return time.perf_counter() - began

    def timed(task: Callable[[], Any]) -> float:
        began = time.perf_counter()
        task()
        return time.perf_counter() - began

    GradCam().many(box, images[:64], targets[:64])  # finds its batch size
    rounds = [
        (min(time_plain(size) for size in (8, 16, 32)), timed(lambda: GradCam().many(box, images, targets)))
        for _ in range(3)
    ]
    whole = timed(lambda: salience.explain(box, list(files), "grad-cam"))
    plain, ours = (min(each) for each in zip(*rounds, strict=True))
    print(table.format_heading(None, f"Grad-CAM at {layer} of {box.name}, {count} pictures, gradients in the exact backend"))
    print("| what | seconds | beside the network's own |\n|---|---|---|")
    print(f"| the network's own forward and backward to that layer, its best batch of 8, 16, 32 | {plain:.2f} | 1 |")
    print(f"| Grad-CAM, `many` | {ours:.2f} | {ours / plain:.2f} × |")
    end = "`salience.explain` of files: with decoding, prediction, records"
    print(f"| {end} | {whole:.2f} | {whole / plain:.2f} × |")


def print_memory_growth() -> None:
    """Call every method 1,000 times."""
    print(
        table.format_heading(None, "1,000 calls on a toy of 16 × 16 pixels, resident memory after 100 calls and after 1,100")
    )
    print("| method | MB after 100 | MB after 1,100 | grown by, MB |\n|---|---|---|---|")
    box, image = toy.load("colour", size=16), toy.picture(16, top=2, left=3)
    settings: dict[str, dict[str, Any]] = {"rise": {"masks": 32}, "extremal-perturbation": {"steps": 5}}
    for name in registry.list_names("methods"):
        if name.startswith("attention"):
            continue  # for transformers
        method = registry.make_method(name, **settings.get(name, {}))
        after = []
        for calls in (100, 1000):
            for _ in range(calls):
                with start_run(None if name not in ("iassa", "occlusion") else 200):
                    method(box, image, 0)
            gc.collect()
            after.append(read_memory("VmRSS"))
        print(f"| {name} | {after[0]:.1f} | {after[1]:.1f} | {after[1] - after[0]:+.1f} |")


if __name__ == "__main__":
    main()
