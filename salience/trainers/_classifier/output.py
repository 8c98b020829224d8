"""What a training of a classifier leaves behind: weights, a card, and what `trained:FOLDER` needs to be a box again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from salience import registry
from salience.engine.training.history import Row
from salience.engine.training.loop import Loop
from salience.files import write_whole
from salience.markdown import escape, write_code
from salience.trainers._classifier.config import TrainingConfig
from salience.trainers._classifier.loss import Loss
from salience.trainers._classifier.split import Split

PARTS = ("trainer", "config", "loop")


@dataclass(frozen=True)
class Trained:
    """The box that came out, its folder, and a row of figures for every step; the first is of before."""

    box: Any
    path: Path
    history: tuple[Row, ...]


def write_result(
    given: Any,
    before: Any,
    student: Any,
    how: Loss,
    config: TrainingConfig,
    loop: Loop,
    split: Split,
    rows: Sequence[Row],
    out: Path,
) -> Trained:
    """Write all of it."""
    from safetensors.torch import save

    name = registry.find_name(how)
    student.name = f"{before.name}, {name}"
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in student.module.state_dict().items()}
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    about = {
        "of": given if isinstance(given, str) else None,
        "name": student.name,
        "fingerprint": student.fingerprint,
        "trainer": {"name": name, **asdict(how)},  # type: ignore[call-overload]  # every trainer is a dataclass
        "config": asdict(config),
        "loop": asdict(loop),
        "data": split.pictures.name,
        "pictures": len(split.numbers),
        "held": len(split.held),
        "seconds": seconds,
        "before": rows[0],
        "after": rows[-1],
    }
    write_whole(out / "weights.safetensors", save(weights))
    write_whole(out / "box.json", json.dumps(about, indent=2).encode())
    write_whole(out / "README.md", card(about, out).encode())
    return Trained(student, out, tuple(rows))


def write_spec(out: Path, of: str | None) -> str:
    """Write the spec of what was trained; a network that runs code has to be named by whoever opens it."""
    kind = str(of).partition(":")[0]
    return f"trained:{out}" + (f"?{urlencode({'of': of}, safe=':/')}" if registry.runs_code(kind) else "")


def card(about: dict[str, Any], out: Path) -> str:
    """Say in words what the box is, what it was taught with, and how it fared."""
    spec = write_spec(out, about["of"])
    before, after = about["before"], about["after"]
    lines = [
        f"# {escape(about['name'])}",
        "",
        f"{write_code(spec)} is a box: {write_code(f'salience explain PICTURE --box {spec}')}."
        + ("" if about["of"] else " The network it began with was given as an object: say its spec, as in `?of=kind:name`."),
        "",
        "| | |",
        "|---|---|",
        f"| begun from | {escape(about['of'] or about['name'].partition(',')[0])}"
        + (", all weights drawn anew |" if about["config"]["scratch"] else " |"),
        f"| data | {escape(about['data'])}: {about['pictures']:,} pictures, {about['held']:,} held out |",
        *(f"| {part} | {escape(describe_settings(about[part]))} |" for part in PARTS),
        f"| took | {after['step']:,} steps, {about['seconds']:.0f} s |",
    ]
    if "accuracy" in after:
        lines += ["", "On the pictures that were held out:", "", "| | before | after |", "|---|---|---|"]
        lines += [f"| accuracy | {before['accuracy']:.3f} | {after['accuracy']:.3f} |"]
        lines += [f"| Gini index of the gradient's map | {before['gini']:.3f} | {after['gini']:.3f} |"]
    lines += ["", "Sparser maps are not more faithful ones by themselves: measure both (`salience bench`)."]
    lines += ["The figures are of pictures like those that it was taught with, and of no others.", ""]
    return "\n".join(lines)


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Say settings in a line, but for those that nobody gave."""
    given = {key: value for key, value in settings.items() if value is not None and value != ()}
    texts = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in given.items()}
    return ", ".join(text if key == "name" else f"{key} {text}" for key, text in texts.items())
