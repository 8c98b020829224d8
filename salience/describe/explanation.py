"""An explanation in sentences and in plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from salience.describe.plain import to_plain
from salience.draw import blend
from salience.engine import maps
from salience.explanation import Explanation

STEADY = (
    (0.9, "steady"),
    (0.7, "fairly steady"),
    (0.4, "unsteady, a larger budget would help"),
    (-2.0, "mostly noise, raise the budget"),
)


def collect_facts(why: Explanation, image: str) -> dict[str, Any]:
    """Collect what `--json` prints, NaN-free.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> facts = collect_facts(why, "red.png")
    >>> facts["image"], facts["target"]["name"], facts["passes"]
    ('red.png', 'red', 5)
    """
    rate = why.passes / why.seconds if why.seconds > 0 else None
    budget = {"budget": why.budget, "passes_per_second": rate, "where": locate_evidence(why), "versions": why.versions}
    found: dict[str, Any] = to_plain(why.summary() | {"image": image} | budget)
    return found


def locate_evidence(why: Explanation) -> dict[str, float] | None:
    """Find the smallest part of the picture that holds half of the evidence; None for a blank map.

    Evidence is what stands above the map's mean. `share` is that part's size in the whole picture, 0…1; `x` and `y`
    are its centre in pixels of the photograph.

    >>> from salience import explain
    >>> red = torch.tensor([1.0, 0.0, 0.0])[:, None, None] * torch.eye(32)
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> sorted(locate_evidence(why))
    ['share', 'x', 'y']
    """
    if maps.find_flaws(why.saliency):
        return None
    full = why.geometry.photograph
    shrink = min(1.0, 1000 / max(full))  # ranking every pixel of a large photograph would take seconds
    size = max(1, round(full[0] * shrink)), max(1, round(full[1] * shrink))
    whole = torch.nan_to_num(blend.geometry_at(why, size).restore(why.saliency).double(), nan=-torch.inf)
    above = (whole - why.saliency.double().mean()).clamp(min=0)
    ranked, order = above.flatten().sort(descending=True)
    half = ranked.cumsum(0) <= 0.5 * ranked.sum()
    count = min(int(half.sum()) + 1, len(ranked))
    weights, at = ranked[:count] / ranked[:count].sum(), order[:count]
    width = whole.shape[1]
    x = float((weights * (at % width)).sum()) * full[1] / width
    y = float((weights * (at // width)).sum()) * full[0] / whole.shape[0]
    return {"share": count / whole.numel(), "x": round(x, 1), "y": round(y, 1)}


def describe_stability(stability: float | None) -> str:
    """Judge the rank agreement of the maps made from either half of the passes.

    >>> describe_stability(0.95)
    '0.95, steady (rank agreement of two half-maps; 1 is the same map twice)'
    """
    if stability is None or not math.isfinite(stability):
        return "not known for this method"
    said = next(words for least, words in STEADY if stability >= least)
    return f"{stability:.2f}, {said} (rank agreement of two half-maps; 1 is the same map twice)"


def describe_evidence(why: Explanation) -> str:
    """Say how small a part holds half of the evidence, and where it lies.

    >>> from salience import explain
    >>> describe_evidence(explain("toy:constant", torch.rand(3, 32, 32), "occlusion"))
    'none to be seen: the map is blank'
    """
    found = locate_evidence(why)
    if found is None:
        return "none to be seen: the map is blank"
    height, width = why.geometry.photograph
    rows, columns = ("top", "middle", "bottom"), ("left", "centre", "right")
    row, column = (min(int(3 * part), 2) for part in (found["y"] / height, found["x"] / width))
    place = "in the middle" if (row, column) == (1, 1) else f"{rows[row]} {columns[column]}"
    share = f"{found['share']:.0%}" if found["share"] >= 0.01 else "less than 1%"
    return f"half of it lies in {share} of the picture, around ({found['x']:.0f}, {found['y']:.0f}), {place}"


def describe_backend(box: Mapping[str, Any]) -> str:
    """Say how passes ran, and how sure it is that they agree with exact ones.

    >>> describe_backend({"backend": "openvino", "check": {"speed-up": 2.5}})
    'fast passes (openvino, 2.5× as fast, scores agree with exact)'
    """
    asked = f", in {box['check']['precision']}, which the method asks for" if box["check"].get("precision") else ""
    if box["backend"] == "exact":
        refused = box["check"].get("refused")
        return f"exact passes{asked}" + (f" (a faster backend was tried, but {refused})" if refused else "")
    speed = box["check"].get("speed-up")
    found = f"{speed:.1f}× as fast, scores agree with exact" if speed else "as asked for, not held against exact"
    return f"fast passes ({box['backend']}, {found}{asked})"


def describe_seen(why: Explanation) -> str:
    """Say which part of the photograph the box saw.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> describe_seen(why)
    'all of the 32×32 photograph'
    """
    top, bottom, left, right = (round(each) for each in why.geometry.seen)
    height, width = why.geometry.photograph
    if top <= 0 and left <= 0 and bottom >= height and right >= width:
        return f"all of the {width}×{height} photograph"
    return f"columns {max(left, 0)}-{min(right, width)} and rows {max(top, 0)}-{min(bottom, height)} of {width}×{height}"
