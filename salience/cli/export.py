"""`salience export`: a classifier and its explainer as one file for other programs."""

from __future__ import annotations

import json as notation
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from salience.cli import terminal
from salience.cli.options import BOX


def export(
    method: Annotated[Literal["p-tame"], Parameter(help="what to export: p-tame, a trained explainer")],
    /,
    *,
    box: Annotated[str, Parameter(name=BOX, help="the classifier, as kind:name")] = "default",
    explainer: Annotated[Path | None, Parameter(help="its file; none given: the one kept for this box")] = None,
    aux: Annotated[str | None, Parameter(help="the features' network, where the explainer names one that runs code")] = None,
    out: Annotated[Path, Parameter(help="the ONNX file to write")] = Path("explained.onnx"),
    json: Annotated[bool, Parameter(negative="", help="print JSON")] = False,
) -> int:
    """Write classifier and explainer as one ONNX file, which gives scores, the class explained, and its map.

    `images` (n 3 h w) are pixels in 0…1 at the box's size; `target` (n) is a class a picture, -1 for the likeliest that
    the explainer knows. ONNX Runtime's answers are compared with torch's before the command ends.
    """
    from salience.cli.extras import expect_extra
    from salience.engine.training import explainer as explainers
    from salience.tasks.export import compare, export_onnx
    from salience.tasks.load import load

    expect_extra("onnx", "onnx", "onnxscript", "onnxruntime")
    made = load(box, backend="exact")
    opened = explainers.load(explainer or explainers.find_path(made.fingerprint))
    path = export_onnx(made, opened, out, aux=aux)
    gaps = compare(made, opened, path, aux=aux)
    facts = {"file": str(path), "method": method, "bytes": path.stat().st_size, "apart": gaps}
    said = f"{path}: {path.stat().st_size / 2**20:.1f} MB, ONNX Runtime agrees with torch to {max(gaps.values()):.1g}\n"
    terminal.say(notation.dumps(facts) + "\n" if json else said)
    return 0
