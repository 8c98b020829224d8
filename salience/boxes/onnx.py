"""`onnx:FILE.onnx`: a network in an ONNX file, run by ONNX Runtime; its inner layers are found in its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from salience.boxes._graph.box import FileBox
from salience.boxes._graph.normalisation import make_file_box
from salience.boxes._graph.onnx import OnnxNetwork

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless


def load(name: str, *, classes: Any = None, providers: str = "", **options: Any) -> FileBox:
    """`onnx:net.onnx?mean=0.5&std=0.5`; size, channels and head are read from the file, options are as for `torch:`.

    `classes` is a file with a name a line, or names. `providers` are those of ONNX Runtime, with commas between and
    the first that can taken, as in `cuda,cpu`; none given: cpu. `output` is the one to explain, where there are several
    that may be scores.
    """
    asked = [each.strip() for each in providers.split(",") if each.strip()]
    return make_file_box(OnnxNetwork(name, asked), Path(name).name, classes, options)
