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


def gather(named: Sequence[str], **how: Any) -> list[tuple[Path, picture.Picture | None]]:
    """Open folders, drop doubles, and read every picture once, so that a bad one is found before any work is done.

    What came from the web stays, so that it is fetched once.
    """
    found: dict[Path | str, tuple[Path, picture.Picture | None]] = {}
    for name in named:
        if picture.is_address(name):
            fetched = picture.read(name, **how)
            found.setdefault(name, (Path(Path(fetched.name).name or "picture"), fetched))
            continue
        path = Path(name)
        with translate(PictureError, f"a picture at {name}", "check the path"):
            for each in _list_pictures(path) if path.is_dir() else [path]:
                found.setdefault(each.resolve(), (each, None))
    for path, ready in found.values():
        if ready is None:
            picture.read(path, **how)
    return list(found.values())


def _list_pictures(folder: Path) -> list[Path]:
    try:
        inside = sorted(each for each in folder.iterdir() if each.is_file() and picture.looks_like_picture(each))
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


def write_files(
    why: Explanation,
    out: Path,
    stem: str,
    facts: dict[str, Any],
    *,
    record: bool,
    write_maps: Callable[[Path], list[Path]] = lambda _: [],
) -> list[Path]:
    """Write the picture, the record, what `write_maps` writes beside them, and the JSON; nothing before it is ready."""
    from salience.draw import overlay

    drawn = overlay.png(overlay.picture(why))
    base = f"{stem}.{why.method}"
    paths = [out / f"{base}.png", *([out / f"{base}.salience"] if record else []), out / f"{base}.json"]
    json.dumps(facts, allow_nan=False)
    make_folder(out)
    write_whole(paths[0], drawn)
    if record:
        why.save(paths[1])
    paths += write_maps(out / base)
    text = json.dumps(facts | {"files": [str(path) for path in paths]}, indent=2, allow_nan=False)
    write_whole(out / f"{base}.json", (text + "\n").encode())
    return paths
