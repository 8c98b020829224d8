"""Is a map the same, bit for bit, whatever the batch, the number of threads and the process? Every registered method.

    python -m benchmarks.equality                                    a small network and EfficientNet-Lite0, exact
    python -m benchmarks.equality --boxes small --methods rise,sobol

Each way to compute is a process of its own. Prints the largest difference to the first way, relative to the map's peak; "="
where all are the same, bit for bit. Methods that need attention get a vision transformer instead.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import salience
from benchmarks import data, table
from salience import registry, specs
from salience.engine.training.explainer import About, Explainer
from salience.engine.training.features import OWN, FeatureSource
from salience.engine.training.network import make_network
from salience.types import BlackBox

WAYS: dict[str, dict[str, Any]] = {  # what differs from batches as they come on two threads
    "first": {},
    "another process": {},
    "batch 5": {"batch": 5},
    "batch 16": {"batch": 16},
    "1 thread": {"threads": 1},
    "3 threads": {"threads": 3},
}
ATTENTION = ("attention-relevance", "attention-rollout")
FEW: dict[str, dict[str, Any]] = {
    "rise": {"masks": 90},
    "mc-rise": {"masks": 150},
    "multiscale-rise": {"masks": 150},
    "sobol": {"designs": 2},
    "hsic": {"masks": 150},
    "kernel-shap": {"masks": 150},
    "lime": {"masks": 90},
    "de-cam": {"budget": 150},
    "iassa": {"budget": 200},
    "occlusion": {"budget": 150},
    "hipe": {"depths": 2},
    "extremal-perturbation": {"areas": (0.1, 0.2), "steps": 10},
    "integrated-gradients": {"steps": 13},
    "smooth-grad": {"copies": 13},
}
TINY = {"occlusion": {"window": 16, "stride": 4}, "iassa": {"window": 24, "stride": 6, "rounds": 3}}


class Small(nn.Sequential):
    """Convolutions with batch norms, of a size at which libraries change kernels with batch and threads."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 96), (96, 160)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 100))


def small() -> BlackBox:
    """Make the small network, always the same."""
    torch.manual_seed(0)
    return specs.open_box(Small().eval(), size=96, backend="exact")


def small_transformer() -> BlackBox:
    """Make a small vision transformer, always the same."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    net = VisionTransformer(img_size=96, patch_size=8, embed_dim=96, depth=3, num_heads=3, num_classes=100)
    return specs.open_box(net.eval(), size=96, backend="exact")


BOXES: dict[str, tuple[Callable[[], BlackBox], Callable[[], BlackBox]]] = {
    "small": (small, small_transformer),
    "efficientnet-lite0": (lambda: data.BOXES["efficientnet-lite0"](backend="exact"), lambda: data.vit_tiny("exact")),
}


def make_explainer(box: Any) -> str:
    """Write an explainer with random weights for the first classes of a box; return its file."""
    source = FeatureSource.of(box)
    channels = [each.shape[1] for each in source(torch.zeros(1, 3, *box.size))]
    network = make_network(channels, len(box.classes))
    about = About(
        box={"name": box.name, "fingerprint": box.fingerprint},
        classes=tuple(range(len(box.classes))),
        names=tuple(box.classes),
        source=source.describe_source(OWN) | {"channels": channels},
    )
    file = Path(tempfile.mkdtemp()) / "explainer.safetensors"
    file.write_bytes(Explainer(network, about).content())
    return str(file)


def picture(side: int) -> Tensor:
    """Make a picture that is smooth and coloured."""
    across = torch.linspace(0, 9, side)
    return torch.stack([(across[:, None] * (k + 1) / 2 + across).sin() / 2 + 0.5 for k in range(3)])


def explain(name: str, methods: list[str], way: dict[str, Any], file: Path) -> None:
    """Explain one picture by all methods in one way, and keep the maps."""
    torch.set_num_threads(way.pop("threads", 2))
    make_box, make_transformer = map(cache, BOXES[name])
    box = make_box()
    maps: dict[str, np.ndarray] = {}
    for method in methods:
        chosen = make_transformer() if method in ATTENTION else box
        few = FEW.get(method, {}) | (TINY.get(method, {}) if name == "small" else {})
        few |= {"explainer": make_explainer(box)} if method == "p-tame" else {}
        maps[method] = salience.explain(chosen, picture(box.size[0]), method, target=7, **few, **way).saliency.numpy()
    np.savez(file, **maps)  # type: ignore[arg-type]  # names of methods are keys


def compare(name: str, methods: list[str]) -> None:
    """Print a row a method: how far each way is from the first."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            file = Path(folder) / f"{len(found)}.npz"
            task = [sys.executable, "-m", "benchmarks.equality", "--boxes", name, "--way", way, "--out", str(file)]
            subprocess.run([*task, "--methods", ",".join(methods)], check=True)
            found[way] = dict(np.load(file))
    first, *others = WAYS
    print(f"| {name} | " + " | ".join(others) + " |\n" + "|---" * (len(others) + 1) + "|")
    same = 0
    for method in methods:
        one = found[first][method]
        apart = [float(np.abs(found[way][method] - one).max() / np.abs(one).max()) for way in others]
        cells = [
            "=" if np.array_equal(found[way][method], one) else f"{d:.0e}" for way, d in zip(others, apart, strict=True)
        ]
        same += cells == ["="] * len(others)
        print(f"| {method} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{same} of {len(methods)} methods give the same map, bit for bit, in {len(WAYS)} ways.\n", flush=True)


def main() -> None:
    """Compare, or be one of the processes that are compared."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--boxes", default=",".join(BOXES))
    options.add_argument("--methods", default=",".join(registry.list_names("methods")))
    options.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    methods = given.methods.split(",")
    if given.way:
        explain(given.boxes, methods, dict(WAYS[given.way]), given.out)
        return
    print(table.format_heading(None, "backend exact, one picture"))
    for name in given.boxes.split(","):
        compare(name, methods)


if __name__ == "__main__":
    main()
