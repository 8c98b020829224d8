"""`openvino:FILE.xml`: a network of OpenVINO, or a file that it reads; its inner layers are found in its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from salience.boxes._graph.box import FileBox
from salience.boxes._graph.normalisation import make_file_box
from salience.boxes._graph.openvino import OpenvinoNetwork

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless


def load(name: str, *, classes: Any = None, **options: Any) -> FileBox:
    """`openvino:net.xml?mean=0.5&std=0.5`; .onnx, .tflite and .pb do too. Options are as for `onnx:`."""
    return make_file_box(OpenvinoNetwork(name), Path(name).name, classes, options)
