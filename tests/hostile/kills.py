"""Kill a command in the middle of a write, start it again, and compare what is there with an undisturbed run.

    python -m tests.hostile.kills --every          # each write of each command, killed and then with a full disk
    python -m tests.hostile.kills bench fit --some 3

A write is what changes the folder: bytes to a file (half of them are written), a file's name, a folder, its end. One
process imports everything; each try is a fork of it.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import errno
import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch

from salience.bench import rows, selection
from salience.cli import main
from salience.explanation import Explanation

GRID = """
measures = ["energy", "sparsity/gini"]
batch = 2
controls = false
[methods]
gradient = {}
rise = { masks = 16 }
[boxes]
colour = { spec = "toy:colour", size = 32 }
[data]
scenes = "shapes:plain?count=4&size=32"
"""
SHAPES = ("--box", "toy:colour", "--data", "shapes:plain?count=30&size=32", "--batch", "6", "--steps", "4", "--save", "2")
EXPLAIN = (
    "explain",
    "--box",
    "toy:colour",
    "--method",
    "occlusion",
    "--backend",
    "exact",
    "--record",
    "--out",
    "run",
    "sample.jpg",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "bench": ("bench", "grid.toml", "--out", "run"),
    "workers": ("bench", "grid.toml", "--out", "run", "--workers", "3"),
    "fit": ("fit", "p-tame", *SHAPES, "--aux", "toy:colour", "--held", "2", "--check", "2", "--out", "run"),
    "train": ("train", "plain", *SHAPES, "--check", "2", "--out", "run"),
    "record": EXPLAIN,
    "cache": EXPLAIN,  # whose writes are counted in another folder
}
HOWS = ("kill", "full")


class Disk:
    """Counts the writes below a folder, in all processes, and ends or fails the one of a number."""

    def __init__(self, root: Path, counter: Path, at: int, how: str) -> None:
        self.root, self.at, self.how = root, at, how
        self.counter = os.open(counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.write = os.write

    def is_hit(self, place: Any, dir_fd: int | None = None) -> bool:
        """Count a write; say whether it is the one."""
        with contextlib.suppress(OSError, TypeError, ValueError):
            path = Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else Path(os.fsdecode(place))
            base = Path.cwd() if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink()
            if self.root in (base / path).parents:
                self.write(self.counter, b".")
                return os.lseek(self.counter, 0, os.SEEK_CUR) == self.at
        return False

    def end(self) -> None:
        """Do what power cuts and full disks do."""
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def patch(self) -> None:
        """Stand between the program and the folder."""
        for name in ("replace", "rename", "mkdir", "rmdir", "unlink", "remove", "truncate", "ftruncate", "fsync", "link"):
            setattr(os, name, self._guard(getattr(os, name), name in ("unlink", "remove", "rmdir")))
        builtins.open = io.open = self._guard_open(io.open)  # type: ignore[assignment]  # of the same arguments
        save, dump = torch.save, safetensors.torch.save

        def save_torch(thing: Any, file: Any, **more: Any) -> None:
            if isinstance(file, (str, os.PathLike)):  # written by C++, which nobody can stand before
                held = io.BytesIO()
                save(thing, held, **more)
                with open(file, "wb") as opened:  # noqa: PTH123  # the patched one
                    opened.write(held.getvalue())
            else:
                save(thing, file, **more)

        def save_tensors(tensors: Any, file: Any, metadata: Any = None) -> None:
            with open(file, "wb") as opened:  # noqa: PTH123  # as above; Rust writes here
                opened.write(dump(tensors, metadata))

        for old, new in ((torch.save, save_torch), (safetensors.torch.save_file, save_tensors)):
            for module in list(sys.modules.values()):
                for name in [key for key, value in list(vars(module).items()) if value is old]:
                    setattr(module, name, new)

    def _guard(self, act: Callable[..., Any], deletes: bool) -> Callable[..., Any]:
        def guarded(place: Any, *more: Any, **how: Any) -> Any:
            if self.is_hit(place, how.get("dir_fd")) and not (deletes and self.how == "full"):
                self.end()
            return act(place, *more, **how)

        return guarded

    def _guard_open(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(place: Any, mode: str = "r", *more: Any, **how: Any) -> Any:
            return (
                Guarded(act(place, mode, *more, **how), place, self)
                if set(mode) & set("wax+")
                else act(place, mode, *more, **how)
            )

        return guarded


class Guarded:
    """A file that is written to."""

    def __init__(self, file: Any, place: Any, disk: Disk) -> None:
        self.file, self.place, self.disk = file, place, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.file.close()

    def __iter__(self) -> Any:
        return iter(self.file)

    def write(self, data: Any) -> Any:
        """Write, or half of it."""
        if self.disk.is_hit(self.place):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            self.disk.end()
        return self.file.write(data)

    def truncate(self, *size: int) -> Any:
        """Cut."""
        if self.disk.is_hit(self.place):
            self.disk.end()
        return self.file.truncate(*size)


def read_result(folder: Path) -> Any:
    """Read what a command has made, but for seconds and names of moments."""
    run = folder / "run"
    if (run / "cells").exists():
        return [
            {k: repr(v) for k, v in row.items() if "seconds" not in k} for row in rows.read_rows(run / rows.FILE).to_pylist()
        ]
    weights = [file for name in ("explainer", "weights") for file in run.glob(f"{name}.safetensors")]
    if weights:
        arrays = safetensors.torch.load_file(weights[0])
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        return {key: repr(each.tolist()) for key, each in arrays.items()}, [row | {"seconds": 0} for row in history]
    return [repr(Explanation.load(file).saliency.tolist()) for file in run.glob("[!.]*.salience")]


def start(command: str, folder: Path, aside: Path, at: int, how: str) -> int:
    """Run a command in a process of its own; return its code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.chdir(folder)
            os.environ["SALIENCE_HOME"] = str(folder / "home")
            os.environ["SALIENCE_CACHE"] = str(folder / "cache") if command == "cache" else ""
            for number in (1, 2):
                os.dup2(os.open(aside / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
            fork = multiprocessing.get_context("fork")  # what is imported and patched is so in a worker, too
            multiprocessing.get_context = lambda _=None: fork  # type: ignore[assignment,misc]
            if how == "clock":
                clock, began = time.time, time.time()
                time.time = lambda: 2 * began - clock() - 10**6  # it goes back
            elif at:
                Disk(folder, aside / "count", at, how).patch()
            code = main(COMMANDS[command])
            if code == 0:
                (aside / "result").write_text(json.dumps(read_result(folder)))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def prepare(above: Path, number: str) -> tuple[Path, Path]:
    """Make a folder for a command, and one for what is known of it."""
    folder, aside = above / number, above / f"{number}-aside"
    folder.mkdir()
    aside.mkdir()
    (folder / "grid.toml").write_text(GRID)
    shutil.copy(Path(sys.modules["salience"].__file__ or "").parent / "sample.jpg", folder)
    return folder, aside


def try_one(command: str, above: Path, whole: str, at: int, how: str) -> str | None:
    """Disturb a run, start it again and compare; return what is wrong."""
    folder, aside = prepare(above, f"{command}-{how}-{at}")
    code = start(command, folder, aside, at, how)
    said = (aside / "said").read_text()
    if code not in ((-signal.SIGKILL, 2, 0) if how == "kill" else (2, 0)):
        return f"code {code}: {said[-500:]}"
    for file in folder.glob("run/[!.]*.salience"):  # with a dot in front: a part that was left
        Explanation.load(file)
    (aside / "result").unlink(missing_ok=True)
    again = start(command, folder, aside, 0, "")
    if again != 0:
        return f"code {again} when started again: {(aside / 'said').read_text()[-500:]}"
    if (aside / "result").read_text() != whole:
        return "another result"
    shutil.rmtree(folder)
    shutil.rmtree(aside)
    return None


def warm(command: str, folder: Path) -> None:
    """Import here what every try would import for itself."""
    before = Path.cwd()
    os.chdir(folder)
    os.environ["SALIENCE_HOME"], os.environ["SALIENCE_CACHE"] = str(folder / "home"), ""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main([each for each in COMMANDS[command] if each not in ("--workers", "3")])
    selection._cache.clear()  # of that folder
    os.chdir(before)


def try_command(command: str, some: int | None, hows: tuple[str, ...] = HOWS) -> dict[str, Any]:
    """Try each write of a command, or some, evenly spread."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        above = Path(place).resolve()
        warm(command, prepare(above, "warm")[0])
        folder, aside = prepare(above, command)
        code = start(command, folder, aside, sys.maxsize, "kill")
        assert code == 0, (aside / "said").read_text()
        whole, count = (aside / "result").read_text(), (aside / "count").stat().st_size
        assert len(whole) > 100, whole
        numbers = (
            range(1, count + 1) if some is None else sorted({1 + (2 * at + 1) * count // (2 * some) for at in range(some)})
        )
        tries = [(at, how) for how in hows for at in numbers] + ([(0, "clock")] if command == "bench" else [])
        wrong = {f"{how} at {at}": said for at, how in tries if (said := try_one(command, above, whole, at, how))}
    return {"command": command, "writes": count, "tries": len(tries), "wrong": wrong}


def run() -> int:
    """Print a line of JSON a command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("commands", nargs="*", default=list(COMMANDS))
    parser.add_argument("--some", type=int, default=3)
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--hows", nargs="*", default=HOWS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    import accelerate  # noqa: F401  # before the forks

    results = []
    for command in given.commands:
        began = time.perf_counter()
        results.append(try_command(command, None if given.every else given.some, tuple(given.hows)))
        print(json.dumps(results[-1] | {"seconds": round(time.perf_counter() - began, 1)}), flush=True)  # noqa: T201  # a program
    return 1 if any(each["wrong"] for each in results) else 0


if __name__ == "__main__":
    sys.exit(run())
