"""`salience check` on thirteen kinds of boxes, as a page: what a person sees who brings one.

python -m benchmarks.checks --into docs/results/checks.md

The networks have random weights where a library would have to download others, and small ones where it does not matter.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from salience.cli import main as program
from salience.runtime.disk_cache import describe_machine

CODE = """
import numpy as np

def score(images):
    share = images.mean((1, 2))
    return share / share.sum(1, keepdims=True)
"""


def make_network() -> nn.Module:
    """Make a small network whose weights are drawn by seed."""
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)).eval()


def write_exported(folder: Path) -> str:
    """Save a network with `torch.export.save`."""
    count = torch.export.Dim("n")
    program = torch.export.export(make_network(), (torch.rand(2, 3, 64, 64),), dynamic_shapes=({0: count},))
    torch.export.save(program, folder / "net.pt2")
    return "torch:net.pt2?size=64"


def write_scripted(folder: Path) -> str:
    """Save a network with `torch.jit.save`."""
    torch.jit.save(torch.jit.script(make_network()), folder / "net.pt")
    return "torch:net.pt?size=64"


def write_onnx(folder: Path) -> str:
    """Save a network, and its softmax, as an ONNX file."""
    net, image = nn.Sequential(make_network(), nn.Softmax(1)), torch.rand(1, 3, 64, 64)
    torch.onnx.export(net, (image,), folder / "net.onnx", dynamic_axes={"x": {0: "n"}}, input_names=["x"], dynamo=False)
    return "onnx:net.onnx?mean=0&std=1"


def write_openvino(folder: Path) -> str:
    """Save a network as a file of OpenVINO."""
    import openvino

    openvino.save_model(openvino.convert_model(make_network(), example_input=torch.rand(1, 3, 64, 64)), folder / "net.xml")
    return "openvino:net.xml?mean=0&std=1&size=64"


def write_keras(folder: Path) -> str:
    """Save a model of Keras that ends in a sigmoid."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inner = [layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(32, 3, activation="relu")]
    end = [layers.GlobalAveragePooling2D(), layers.Dense(4, activation="sigmoid")]
    keras.Sequential([keras.Input((64, 64, 3)), *inner, *end]).save(folder / "net.keras")
    return "keras:net.keras"


def write_folder(folder: Path) -> str:
    """Save a vision transformer with its image processor."""
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = transformers.ViTConfig(**small, image_size=64, patch_size=8, num_labels=3)
    transformers.ViTForImageClassification(config).save_pretrained(folder / "vit")
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder / "vit")
    return "hf:vit"


def write_estimator(folder: Path) -> str:
    """Fit a classifier of scikit-learn on the colour of noise, and save it."""
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    images = np.random.default_rng(0).random((60, 8, 8, 3), dtype=np.float32)
    images[:30, ..., 0] += 0.5
    fitted = LogisticRegression(max_iter=500).fit(images.reshape(60, -1), ["red"] * 30 + ["grey"] * 30)
    joblib.dump(fitted, folder / "fit.joblib")
    return "estimator:fit.joblib?size=8"


def write_function(folder: Path) -> str:
    """Write a function of numpy."""
    (folder / "mine.py").write_text(CODE)
    return "py:mine.py:score?size=32"


def write_trained(_folder: Path) -> str:
    """Train a box for an epoch."""
    words = "train plain --data shapes:plain?count=24&size=32 --box toy:colour --epochs 1 --out trained"
    with redirect_stdout(io.StringIO()):
        program(words.split())
    return "trained:trained"


KINDS: dict[str, Callable[[Path], str]] = {
    "default": lambda _folder: "zoo:efficientnet-lite0",
    "toy": lambda _folder: "toy:colour",
    "trained": write_trained,
    "timm": lambda _folder: "timm:resnet18?weights=none",
    "torchvision": lambda _folder: "torchvision:mobilenet_v3_small?weights=none",
    "hf": write_folder,
    "torch, exported": write_exported,
    "torch, scripted": write_scripted,
    "onnx": write_onnx,
    "openvino": write_openvino,
    "keras": write_keras,
    "estimator": write_estimator,
    "py, a function": write_function,
}


def check_all() -> Iterator[tuple[str, str, str]]:
    """Yield kind, spec and what the program prints."""
    here = Path.cwd()
    for kind, make in KINDS.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.chdir(folder)
            try:
                spec, said = make(Path(folder)), io.StringIO()
                with redirect_stdout(said):
                    code = program(["check", spec])
                if code:
                    raise SystemExit(f"expected {spec} to be checked, got exit code {code}")
            finally:
                os.chdir(here)
        yield kind, spec, said.getvalue()


def main() -> None:
    """Check, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--into", type=Path, help="the page to write")
    given = options.parse_args()
    title = f"{__doc__}".partition("\n")[0]
    where = f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine(torch.device('cpu'))}"
    parts = [f"# What `salience check` says\n\n{title}\n`python -m benchmarks.checks`, {where}.\n"]
    for kind, spec, said in check_all():
        shown = re.sub(r" \(salience [^)]*\)", "", said).rstrip()
        parts.append(f"## {kind}\n\n```console\n$ salience check '{spec}'\n{shown}\n```\n")
    page = "\n".join(parts)
    if given.into:
        given.into.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
