"""What a training of an explainer leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from salience.engine.training import explainer
from salience.engine.training.history import Row


@dataclass(frozen=True)
class Fitted:
    """What came out: the explainer, its file, and a row of figures for every step."""

    explainer: explainer.Explainer
    path: Path
    history: tuple[Row, ...]
