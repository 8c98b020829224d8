"""`trained:FOLDER`: a box that `salience train` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from salience import limits, schema, specs
from salience.boxes.torch import TorchBox
from salience.errors import BoxError
from salience.runtime.module import read_weights


def load(name: str, *, of: str | None = None, **options: Any) -> TorchBox:
    """Open the box that was trained, and load the trained weights into it; `of` is its spec.

    The folder itself may only name a box that runs no code.
    """
    folder = Path(name)
    if not (folder / "box.json").is_file():
        raise BoxError(f"expected a folder that `salience train` wrote, got {name}, without box.json: is the run complete?")
    about = _read_card(folder / "box.json")
    spec = of or about.of
    if spec is None:
        raise BoxError(f"expected the spec of the network in {name}, got none: add it, as in ?of=timm:resnet18")
    if of is None:
        specs.expect_harmless(spec, f"{name}/box.json", f"name it as ?{urlencode({'of': spec}, safe=':/')}")
    first = specs.open_box(spec, **options)
    if not isinstance(first, TorchBox):
        raise BoxError(f"expected a torch network for {name}, got {first.name}: name the one that was trained")
    box = first.reinitialise(())  # another's module stays as it is
    read_weights(box.module, str(folder / "weights.safetensors"))
    box.name, box.backend, box.backend_chosen = about.name, first.backend, first.backend_chosen
    if box.fingerprint != about.fingerprint and not options:
        raise BoxError(f"expected the box that was trained in {name}, got one with other weights or pixels: name it by ?of=")
    return box


def _read_card(path: Path) -> schema.Card:
    try:
        return schema.read_as(schema.Card, json.loads(limits.read_text(path)))
    except (OSError, ValueError, RecursionError) as problem:
        raise BoxError(f"expected what `salience train` wrote in {path}, got something else ({problem})") from None
