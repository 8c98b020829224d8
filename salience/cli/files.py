"""Which pictures, and where what is made of them goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from salience import picture
from salience.errors import PictureError, RecordError, translate
from salience.explanation import Explanation
from salience.files import make_folder, write_whole

SAMPLE = Path(__file__).parent.parent / "sample.jpg"
ABOUT_SAMPLE = "an espresso by Rachel Michetti, CC0, from scikit-image"


def gather(named: Sequence[str], **how: Any) -> list[Path]:
    """Open folders, drop doubles, and read every picture once, so that a bad one is found before any work is done."""
    found: dict[Path, Path] = {}
    for name in named:
        path = Path(name)
        with translate(PictureError, f"a picture at {name}", "check the path"):
            for each in _list_pictures(path) if path.is_dir() else [path]:
                found.setdefault(each.resolve(), each)
    for each in found.values():
        picture.read(each, **how)
    return list(found.values())


def _list_pictures(folder: Path) -> list[Path]:
    try:
        inside = sorted(each for each in folder.iterdir() if each.suffix.lower() in picture.SUFFIXES and each.is_file())
    except OSError as problem:
        raise PictureError(f"expected to read {folder}, got {problem.strerror}: check its permissions") from problem
    if not inside:
        raise PictureError(f"expected pictures in {folder}, got none: name a folder that holds JPEG, PNG or the like")
    return inside


def name_files(pictures: Sequence[Path]) -> list[str]:
    """Give each picture a name for its files; two pictures never share one, also where letters' case does not count."""
    ways: tuple[Callable[[Path], str], ...] = (
        lambda path: path.stem,
        lambda path: path.name.replace(".", "-"),
        lambda path: f"{path.resolve().parent.name}-{path.name}".replace(".", "-"),
    )
    for way in ways:
        names = [way(path)[:120] for path in pictures]
        if len({name.casefold() for name in names}) == len(names):
            return names
    return [f"{path.stem[:120]}-{number}" for number, path in enumerate(pictures, start=1)]


def check_folder(out: str) -> Path:
    """Check that the folder for results can be one, without making it yet."""
    path = Path(out)
    above = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not above.is_dir():
        raise RecordError(f"expected a folder for results at {path}, got a file at {above}: choose another with --out")
    return path


def write_files(why: Explanation, out: Path, stem: str, facts: dict[str, Any], *, record: bool) -> list[Path]:
    """Write the picture, the record and the JSON beside them; nothing before all of it is ready."""
    from salience.draw import overlay

    drawn = overlay.png(overlay.picture(why))
    base = f"{stem}.{why.method}"
    paths = [out / f"{base}.png", *([out / f"{base}.salience"] if record else []), out / f"{base}.json"]
    text = json.dumps(facts | {"files": [str(path) for path in paths]}, indent=2, allow_nan=False)
    make_folder(out)
    write_whole(paths[0], drawn)
    if record:
        why.save(paths[1])
    write_whole(paths[-1], (text + "\n").encode())
    return paths
