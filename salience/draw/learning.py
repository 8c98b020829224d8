"""The curve of a training: what was made small, and what held-out pictures said on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = (
    ("loss and its parts", ("loss", "ce", "area", "kl")),
    ("mean of the maps", ("own", "others")),
    ("held-out pictures", ("lerf", "morf", "average drop", "increase", "accuracy", "gini")),
)
SMOOTH = 20  # steps that a line is the mean of, where there are many


def figure(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draw figures against steps, a panel a kind; every step faintly, their running mean strongly.

    >>> rows = [{"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.5}]
    >>> len(figure(rows).axes)
    1
    """
    from matplotlib.figure import Figure

    panels = [(title, [name for name in names if any(name in row for row in rows)]) for title, names in GROUPS]
    panels = [(title, names) for title, names in panels if names]
    drawn = Figure(figsize=(4.5 * len(panels), 3.4), layout="constrained")
    for axes, (title, names) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            _line(axes, [(row["step"], row[name]) for row in rows if name in row], name)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _line(axes: Axes, points: Sequence[tuple[float, float]], name: str) -> None:
    x, y = ([point[axis] for point in points] for axis in (0, 1))
    if len(points) < 5 * SMOOTH:
        axes.plot(x, y, label=name, marker="." if len(points) < 2 * SMOOTH else None)
        return
    (faint,) = axes.plot(x, y, alpha=0.25, linewidth=0.8)
    mean = [sum(y[max(0, at - SMOOTH + 1) : at + 1]) / min(at + 1, SMOOTH) for at in range(len(y))]
    axes.plot(x, mean, label=name, color=faint.get_color())
