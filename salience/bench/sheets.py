"""Maps over their pictures, small enough to travel inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as pil

from salience.bench import evidence
from salience.bench.evidence import StoredMap
from salience.bench.panel import Panel
from salience.bench.places import find_picture, find_selection
from salience.draw import blend
from salience.draw.blend import Pixels, Style
from salience.engine import seeding

PICTURES, EXTREMES = 6, 4
SIDE = 128  # pixels of a thumbnail


@dataclass(frozen=True)
class Thumb:
    """A picture for the page.

    >>> Thumb("rise", "data:image/jpeg;base64,").caption
    'rise'
    """

    caption: str
    source: str  # a data URI


@dataclass(frozen=True)
class Strip:
    """A picture and the maps of all methods over it.

    >>> Strip("0001", "red", (Thumb("picture", "data:image/jpeg;base64,"),)).thumbs[0].caption
    'picture'
    """

    picture: str
    target: str
    thumbs: tuple[Thumb, ...]  # the picture first, if it was kept


@dataclass(frozen=True)
class Extremes:
    """Where a method does best and worst by a measure.

    >>> Extremes("rise", "deletion", best=(("0001", 0.1, ()),), worst=(("0002", 0.9, ()),)).best[0][:2]
    ('0001', 0.1)
    """

    method: str
    measure: str
    best: tuple[tuple[str, float, tuple[Thumb, ...]], ...]  # picture, value, the picture and its map
    worst: tuple[tuple[str, float, tuple[Thumb, ...]], ...]


def draw_strips(run: Path, panel: Panel) -> list[Strip]:
    """Draw some pictures by seed, each with the maps of all methods by their first seeds.

    >>> import tempfile
    >>> rows = [{"method": name, "seed": 0, "cell": name, "picture": "0001", "target": "red"} for name in ("rise", "lime")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for row in rows:
    ...         Path(folder, "evidence", row["cell"]).mkdir(parents=True)
    ...         np.savez(f"{folder}/evidence/{row['cell']}/0001.npz", map=np.eye(2, dtype=np.uint8), range=[0.0, 1.0])
    ...     (strip,) = draw_strips(Path(folder), Panel("shapes", "toy", (), ("rise", "lime"), {}, rows))
    >>> [thumb.caption for thumb in strip.thumbs]
    ['rise', 'lime']
    """
    first: dict[str, str] = {}
    for (method, _), cell in evidence.list_cells(panel).items():
        first.setdefault(method, cell)
    targets = {row["picture"]: row["target"] for row in panel.rows}
    names = sorted(targets)
    drawn = torch.randperm(len(names), generator=seeding.generator(0, "sheet")).tolist()[:PICTURES]
    strips = [Strip(names[at], targets[names[at]], _draw_thumbs(run, panel, names[at], first)) for at in sorted(drawn)]
    return [each for each in strips if len(each.thumbs) > 1]


def find_extremes(run: Path, panel: Panel) -> Extremes | None:
    """Pick pictures by the first measure that has a better direction, for the method that is best by it.

    >>> from salience.bench.significance import Mean
    >>> from salience.bench.statistics import Key, Summary
    >>> mean = Summary(Key("shapes", "toy", "deletion"), "rise", "lower", Mean(0.2, 0.1, 0.3, 2), (0, 0), "best")
    >>> rows = [{"method": "rise", "settings": None, "measure": "deletion", "seed": 0, "value": 0.2, "picture": "0001"}]
    >>> panel = Panel("shapes", "toy", ("deletion",), ("rise",), {("deletion", "rise"): mean}, rows)
    >>> find_extremes(Path("run"), panel) is None  # there are no maps
    True
    """
    measure = next((each for each in panel.measures if panel.of(each)[0].better != "neither"), None)
    if measure is None:
        return None
    sign = -1 if panel.of(measure)[0].better == "lower" else 1
    known = [each for each in panel.of(measure) if each.mean.n and each.method not in panel.controls]
    if not known:
        return None
    method = max(known, key=lambda each: sign * each.mean.mean).method
    rows = [row for row in panel.rows if row["method"] == method and row["measure"] == measure]
    rows = [row for row in rows if row["seed"] == rows[0]["seed"] and np.isfinite(row["value"] or np.nan)]
    rows.sort(key=lambda row: (-sign * row["value"], row["picture"]))
    count = min(EXTREMES, len(rows) // 2)
    drawn = [
        tuple(
            (row["picture"], row["value"], _draw_thumbs(run, panel, row["picture"], {method: row["cell"]})) for row in some
        )
        for some in (rows[:count], rows[::-1][:count])
    ]
    return Extremes(method, measure, *drawn) if count and any(thumbs for _, _, thumbs in drawn[0]) else None


def _draw_thumbs(run: Path, panel: Panel, picture: str, cells: dict[str, str]) -> tuple[Thumb, ...]:
    """Draw a picture and the maps of some cells over it."""
    pictures = run / "pictures" / find_selection(run, panel.box, panel.data).stem
    whole = _read_picture(find_picture(pictures, picture, ".jpg"))
    thumbs = [] if whole is None else [Thumb("picture", _encode_uri(whole))]
    for method, cell in cells.items():
        stored = evidence.read_map(run, cell, picture)
        if stored is not None:
            under = np.full((*_fit_size(stored.steps.shape), 3), 0.5, np.float32) if whole is None else whole
            thumbs.append(Thumb(method, _encode_uri(overlay_map(stored, under))))
    return tuple(thumbs)


def overlay_map(stored: StoredMap, under: Pixels) -> Pixels:
    """Lay a stored map over a picture, in the colours of `draw`; the picture alone where the map is blank.

    >>> overlay_map(StoredMap(np.array([[0, 255]], np.uint8), (0.0, 1.0), {}), np.zeros((4, 8, 3), np.float32)).shape
    (4, 8, 3)
    """
    values = stored.saliency
    style = Style().of(values)
    low, high = style.span(values)
    if not high > low:
        return under
    position = ((values - low) / (high - low)).clip(0, 1).astype(np.float32)
    large = pil.fromarray(position).resize(under.shape[1::-1], pil.Resampling.BILINEAR)
    return blend.blend_colours(under, np.asarray(large), style)


def _read_picture(file: Path) -> Pixels | None:
    try:
        with pil.open(file) as opened:
            small = opened.convert("RGB")
    except OSError:
        return None
    shrunk: Pixels = np.asarray(small.resize(_fit_size(small.size), pil.Resampling.LANCZOS), np.float32) / 255
    return shrunk


def _fit_size(sides: Sequence[int]) -> tuple[int, int]:
    longest = max(sides)
    one, other = (max(1, round(side * SIDE / longest)) for side in sides)
    return one, other


def _encode_uri(pixels: Pixels) -> str:
    file = io.BytesIO()
    pil.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
