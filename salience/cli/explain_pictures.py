"""What `salience explain` does once its command line is read: torch is imported here, and not for the help."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from salience.cli import files, terminal
from salience.cli.console import Console
from salience.cli.options import Options
from salience.cli.output import print_explanation
from salience.describe.explanation import collect_facts
from salience.engine import target as targets
from salience.engine.query.budget import Budget
from salience.explanation import Explanation
from salience.picture import read
from salience.tasks.choose_method import choose_method
from salience.tasks.explain import explain
from salience.tasks.load import load
from salience.types import QuestionBox

NO_NAME = re.compile(r"[^\w-]+")  # what a place's name may not bring into a file's
READING = ("white", "black", "bands", "rgb", "page", "region")  # the options of `picture.read`


def explain_pictures(image: list[str], options: Options, settings: dict[str, Any]) -> int:
    """Check everything that can be checked, then explain one picture after the other."""
    method = choose_method(options.method, options.seed, settings)
    Budget.of(options.budget)
    files.check_folder(options.out)
    how = {name: given for name in READING if (given := vars(options)[name]) is not None}
    pictures = files.gather(image, **how) if image else [(files.SAMPLE, None)]
    box = load(options.box, **({} if options.backend == "auto" else {"backend": options.backend}))
    target = options.target if options.versus is None else (options.target, options.versus)
    if not isinstance(box, QuestionBox):  # its targets are places of a picture
        targets.resolve(target, [0.0] * len(box.classes), box.classes)
    if not image:
        terminal.tell(f"No picture given: explaining a sample, {files.ABOUT_SAMPLE}.\n")
    console = Console()
    stems = files.name_files([path for path, _ in pictures])
    for (path, fetched), stem in zip(pictures, stems, strict=True):
        with _progress(path.name) as progress:
            explained = explain(
                box,
                fetched or read(path, **how),
                method,
                target=target,
                budget=options.budget,
                tolerance=options.tolerance,
                batch=options.batch,
                progress=progress,
                band_shares=options.band_shares,
            )
        each = explained if isinstance(explained, list) else [explained]  # of the places that a model found
        for why in each:
            own = f"{stem}.{NO_NAME.sub('-', why.target.name)[:60]}" if isinstance(explained, list) else stem
            place = None if fetched else path
            _write(why if options.photograph else why.without_photograph(), place, own, options, console)
    return 0


def _write(why: Explanation, path: Path | None, stem: str, options: Options, console: Console) -> None:
    """Write the files of an explanation, and print it; `path` is that of a picture that lies on this machine."""
    facts = collect_facts(why, why.image)
    write_maps = partial(_write_maps, why, path, options)
    written = files.write_files(why, Path(options.out), stem, facts, record=options.record, write_maps=write_maps)
    if options.json:
        terminal.say(json.dumps(facts | {"files": [str(each) for each in written]}, allow_nan=False) + "\n")
        sys.stdout.flush()
    else:
        print_explanation(console, why, why.image, [str(each) for each in written])


def _write_maps(why: Explanation, path: Path | None, options: Options, base: Path) -> list[Path]:
    """Write the map as the picture's own kind of file where that places it: DICOM, GeoTIFF."""
    from salience.draw import dicom_map, geo_map
    from salience.picture import dicom, geotiff, tiff

    if path is None:
        return []
    with path.open("rb") as file:
        start = file.read(160)
    if dicom.recognise(start):
        return dicom_map.write_map(why, path, base, page=options.page, patient=options.patient)
    if start.startswith(tiff.STARTS) and find_spec("rasterio") is not None:
        return geo_map.write_map(why, path, base, region=geotiff.read_region(options.region))
    return []


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """Show a bar on standard error while something is explained; nothing where nobody watches."""
    console = Console(err=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("passes"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda passes, expected: bar.update(task, completed=passes, total=expected)
