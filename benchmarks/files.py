"""Is a network in a file explained as the module it came from? `python -m benchmarks.files`. Prints Markdown.

Exports boxes to ONNX, and compares the maps of the file, in ONNX Runtime and in OpenVINO, with those of torch.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

import salience
from benchmarks import data, table
from salience import specs
from salience.boxes.torch import TorchBox
from salience.engine import maps

METHODS = ("cam", "recipro-cam", "eigen-cam", "ablation-cam", "ada-sise")


def main() -> None:
    """Export, explain, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--boxes", nargs="*", default=["vgg16", "mobilenet-v2"])
    options.add_argument("--kinds", nargs="*", default=["onnx", "openvino"])
    options.add_argument("--methods", nargs="*", default=METHODS)
    given = options.parse_args()
    print(table.format_heading(None, "one photograph, exact backends, methods as they are by default"))
    print("| box | file | method | map: largest difference, of its peak | ρ | passes: torch, file | seconds: torch, file |")
    print("|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.boxes:
            box: Any = data.BOXES[name]("exact")
            options_of = {"mean": box.preparation.mean, "std": box.preparation.std, "resize": box.preparation.resize}
            options_of |= {"filter": box.preparation.filter, "classes": box.classes, "backend": "exact"}
            path = export(box, Path(folder) / f"{name}.onnx")
            files = [specs.open_box(f"{kind}:{path}", **{k: v for k, v in options_of.items() if v}) for kind in given.kinds]
            for method in given.methods:
                print_comparison(box, files, given.kinds, method)


def export(box: TorchBox, path: Path) -> Path:
    """Write the module as ONNX, for any number of images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        example = torch.zeros(2, 3, *box.size)
        dynamic = ({0: torch.export.Dim.AUTO},)
        torch.onnx.export(box.module.eval(), (example,), path, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    return path


def print_comparison(box: TorchBox, files: list[Any], kinds: list[str], method: str) -> None:
    """Print a row for each file."""
    photograph = data.list_photographs()[3]
    known = salience.explain(box, photograph, method)
    for kind, file in zip(kinds, files, strict=True):
        found = salience.explain(file, photograph, method)
        gap = float((found.saliency - known.saliency).abs().max() / known.saliency.abs().max())
        rank = maps.rank_agreement(found.saliency, known.saliency)
        cost = f"{known.passes}, {found.passes} | {known.seconds:.1f}, {found.seconds:.1f}"
        print(f"| {box.name} | {kind} | {method} | {gap:.1e} | {rank:.5f} | {cost} |", flush=True)


if __name__ == "__main__":
    main()
