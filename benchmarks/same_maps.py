"""Are the maps of two checkouts the same, bit for bit? Run this file once with each of them on PYTHONPATH, then compare.

PYTHONPATH=OLD python benchmarks/same_maps.py write old.npz; PYTHONPATH=NEW python benchmarks/same_maps.py write new.npz;
python benchmarks/same_maps.py compare old.npz new.npz. Twelve methods, three boxes and two pictures, in batches of 16 in the
exact backend, on one thread; and the value of a measure of each map. Needs SALIENCE_DATA.
"""

from __future__ import annotations

import argparse
import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

METHODS: dict[str, dict[str, Any]] = {
    "rise": {"masks": 64},
    "multiscale-rise": {"budget": 96},
    "occlusion": {"window": 64, "stride": 64},
    "iassa": {"variant": "plus", "budget": 140},
    "de-cam": {"budget": 80},
    "lime": {"masks": 40, "regions": 12},
    "sobol": {"budget": 132},
    "sise": {"mu": 0.8},
    "grad-cam": {},
    "layer-cam": {},
    "recipro-cam": {},
    "integrated-gradients": {"steps": 8},
}


def write(file: Path, names: list[str]) -> None:
    """Explain everything in the salience that is found, and keep maps, errors and a measure."""
    import salience

    torch.set_num_threads(1)
    found = Path(os.environ["SALIENCE_DATA"])
    exact = {"backend" if "backend" in inspect.signature(_torch_box()).parameters else "lane": "exact"}
    vit = f"timm:vit_tiny_patch16_224?weights={found}/models/vit_tiny_patch16_224.fp16.safetensors"
    boxes = {"efficientnet-lite0": "zoo:efficientnet-lite0", "vit-tiny": vit, "resnet18": "timm:resnet18?weights=none"}
    photographs = sorted((found / "localisation" / "imagenette").glob("*.jpg"))[:2]
    arrays: dict[str, Any] = {}
    for name, spec in boxes.items():
        if names and name not in names:
            continue
        torch.manual_seed(0)  # for weights that are drawn
        box = salience.load(spec, **exact)
        for method, settings in METHODS.items():
            for number, photograph in enumerate(photographs):
                why = salience.explain(box, photograph, method, batch=16, seed=0, **settings)
                (measured,) = salience.measure(box, why, ["average-drop/score-cam"], batch=16)
                key = f"{name}|{method}|{number}"
                arrays[key] = why.saliency.numpy()
                arrays[f"{key}|error"] = np.zeros(0) if why.error is None else why.error.numpy()
                arrays[f"{key}|measure"] = np.array([measured.value, why.passes, why.target.probability])
                if method == "rise":
                    why.save(file.with_name(f"{file.stem}-{name}-{number}.salience"))
    np.savez(file, **arrays)
    print(f"{len(arrays) // 3} maps of {salience.__file__}")


def _torch_box() -> Any:
    from salience.boxes.torch import TorchBox

    return TorchBox.__init__


def compare(old: Path, new: Path) -> int:
    """Print what differs."""
    one, other = np.load(old), np.load(new)
    differing = [key for key in one.files if not np.array_equal(one[key], other[key], equal_nan=True)]
    for key in differing:
        print(
            f"{key}: {np.abs(one[key] - other[key]).max():.2e}" if one[key].shape == other[key].shape else f"{key}: shapes"
        )
    maps = sum(key.count("|") == 2 for key in one.files)
    print(f"{len(one.files)} arrays of {maps} maps, {len(differing)} differ")
    return 1 if differing or set(one.files) != set(other.files) else 0


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("task", choices=["write", "compare"])
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--boxes", nargs="*", default=[], help="only these; none given: all")
    given = options.parse_args()
    if given.task == "write":
        write(given.files[0], given.boxes)
    else:
        raise SystemExit(compare(*given.files))
