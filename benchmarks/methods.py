"""Every method that looks inside, on networks of every build: the layers chosen, and whether it runs.

    python -m benchmarks.methods

Prints two Markdown tables. Trained networks see real pictures; the others have random weights ("none") and show only
that the method runs. A cell is the seconds of a picture; "refused" means an error in words, given below the table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.progress import track

import salience
from benchmarks import data, small, table
from salience import registry, specs
from salience.errors import SalienceError
from salience.types import BlackBox

TRAINED = ("efficientnet-lite0", "efficientnet-lite2", "mobilenet-v2", "vgg16", "vit-tiny", "cifar-20", "cifar-56")
BUILDS = (
    "torchvision:resnet50", "torchvision:densenet121", "torchvision:convnext_tiny", "torchvision:swin_t",
    "torchvision:regnet_y_400mf", "timm:swin_tiny_patch4_window7_224", "timm:deit_tiny_patch16_224",
)  # fmt: skip
QUICK: dict[str, dict[str, Any]] = {
    "extremal-perturbation": {"steps": 10},
    "smooth-grad": {"copies": 4},
    "integrated-gradients": {"steps": 8},
    "sise": {"budget": 40},
    "ada-sise": {"budget": 40},
}
FIRST = ("score-cam", "ablation-cam")  # a pass a channel: at the first layer, which has the fewest
BOXES: dict[str, Callable[[], Any]] = {name: data.BOXES[name] for name in TRAINED if name in data.BOXES}
BOXES |= {f"cifar-{depth}": lambda depth=depth: small.cifar(depth) for depth in (20, 56)}
BOXES |= {name: lambda name=name: specs.open_box(name, weights="none") for name in BUILDS}


def main() -> None:
    """Run everything and print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=2)
    options.add_argument("--boxes", default=",".join(BOXES))
    options.add_argument("--methods", default=",".join(list_methods()))
    given = options.parse_args()
    names, methods = given.boxes.split(","), given.methods.split(",")
    cells: dict[tuple[str, str], str] = {}
    said: dict[str, None] = {}
    print(
        table.format_heading(
            None, f"{given.pictures} pictures, default settings but for {QUICK} and the first layer for {', '.join(FIRST)}"
        )
    )
    print("| box | layers (channels × rows × columns) |\n|---|---|")
    for name in track(names, "boxes"):
        box = BOXES[name]()
        shown = small.read_cifar_pictures(given.pictures)[0] if "cifar" in name else data.list_photographs()[29::60]
        image = torch.rand(1, 3, *box.size)
        found = box.activations(image, box.layers())
        print(f"| {name} | {', '.join(f'`{k}` {v.shape[1]}×{v.shape[2]}×{v.shape[3]}' for k, v in found.items())} |")
        for method in methods:
            cells[method, name] = try_method(box, list(shown)[: given.pictures], method, said)
    print(f"\n| method | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|")
    for method in methods:
        print(f"| {method} | {' | '.join(cells[method, name] for name in names)} |")
    print("\n" + "\n".join(f"- {each}" for each in said))


def list_methods() -> list[str]:
    """Name the methods that need more than scores."""
    return [
        name for name in registry.list_names("methods") if registry.find_need(registry.find_method(name)) is not BlackBox
    ]


def try_method(box: Any, pictures: list[Any], method: str, said: dict[str, None]) -> str:
    """Explain the pictures and say in a word how it went."""
    began = time.perf_counter()
    try:
        layer = {"layer": box.layers()[0]} if method in FIRST else {}
        found = salience.explain(box, pictures, method, **QUICK.get(method, {}), **layer)
    except SalienceError as problem:
        said[f"{method}: {problem}"] = None
        return "refused"
    except Exception as problem:  # noqa: BLE001  # a failure is a figure of this table
        said[f"FAILED {method} on {box.name}: {type(problem).__name__}: {problem}"] = None
        return "FAILED"
    for why in found:
        for note in why.notes:
            said[f"{method} on {box.name}: {note}"] = None
    blank = sum("constant" in note for why in found for note in why.notes)
    return f"{(time.perf_counter() - began) / len(found):.2f}" + (f" ({blank} blank)" if blank else "")


if __name__ == "__main__":
    main()
