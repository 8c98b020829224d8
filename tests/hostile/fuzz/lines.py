"""Command lines: words that are nearly right, on good and on damaged files, on a disk that is full or not to be written."""

from __future__ import annotations

import errno
import io
import os
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib as mpl
from hypothesis import strategies as st

from salience.cli import main
from salience.errors import SalienceError
from tests.hostile.fuzz import files, pictures, values
from tests.hostile.fuzz.judge import Kind, WrongError

LINES = (
    "explain a.png --box toy:colour --method occlusion --window 16 --stride 16 --out out --json",
    "explain a.png b.png --box toy:colour --method rise --masks 8 --target red --versus blue --seed 3 --out out",
    "explain folder --box toy:colour --method gradient --channels sum --out out",
    "explain deep.tif --box toy:colour --method grad-cam --white 4095 --bands 1 --page 1 --batch 2 --out out",
    "explain a.png --box toy:corner?size=16 --method lime --masks 16 --budget 20 --tolerance 0.1 --out out",
    "explain damaged.bin --box toy:colour --method gradient --out out",
    "measure a.salience --box toy:colour --measures sparsity,deletion --json",
    "measure a.salience --box toy:colour --measures sparsity",
    "measure damaged.salience --box toy:colour --measures sparsity",
    "measure a.png --box toy:colour --measures sparsity/gini,pointing-game --method gradient --truth a.png",
    "check toy:colour a.png --seconds 0.05 --out c.png",
    "check trained:trained a.png --seconds 0.05 --json",
    "list methods",
    "list measures",
    "list boxes toy:",
    "list classes toy:colour",
    "compare run other",
    "report run",
    "bench grid.toml --out run",
    "export p-tame --box toy:colour --explainer e.safetensors --out x.onnx",
    "fit p-tame --box toy:colour --data shapes:plain?count=8&size=32 --out fitted.safetensors",
    "train plain --box toy:colour --data shapes:plain?count=8&size=32 --epochs 1 --out trained",
)
SLOW = ("fit", "train", "bench")  # asked only with something odd among their words
WORDS = (
    *(text for text in values.TEXTS if ".." not in text),
    "--help",
    "--box",
    "--method",
    "--json",
    "-h",
    "--",
    "-1",
    "--out=",
    "--seed=x",
    "--window=0",
    "--masks=2.5",
    "--no-record",
    "--batch=0",
    "a.png",
    "nothing.png",
    "damaged.bin",
    "a.salience",
    "/dev/zero",
    "file/inside",
    "toy:colour?x=1",
    "py:a:b",
    "[/x]",
    "--budget=0s",
    "x" * 5000,
    "locked",
)


mpl.get_configdir(), mpl.get_cachedir()  # it makes its own folders once, and would complain of the disk


def lay_out(folder: Path, steps: Any, form: str) -> None:
    """Put good and damaged files into the folder in which the command runs."""
    good = pictures.write_good("png")
    (folder / "folder").mkdir()
    for name, content in {
        "a.png": good,
        "b.png": pictures.write_good("jpeg"),
        "deep.tif": pictures.write_good("tiff 16"),
        "folder/c.png": good,
        "file": good,
        "damaged.bin": values.damage(pictures.write_good(form), steps),
        "a.salience": files.write_record("occlusion"),
        "damaged.salience": values.damage(files.write_record("occlusion"), steps),
        "e.safetensors": files.write_explainer(),
        "grid.toml": values.damage(
            b'boxes.a = "toy:colour"\nmethods.gradient = {}\ndata.a = "shapes:plain?count=2&size=32"\n', steps
        ),
    }.items():
        (folder / name).write_bytes(content)
    (folder / "trained").mkdir()
    for name, content in files.write_trained().items():
        (folder / "trained" / name).write_bytes(content)


def change(words: list[str], edits: Any) -> list[str]:
    """Put odd words in the place of others, or between them; the box stays, for the usual one takes seconds."""
    words = list(words)
    for way, where, word in edits:
        at = 1 + where % len(words)
        kept = words[at - 1] == "--box" or (at < len(words) and words[at] == "--box")
        if way == "insert":
            words.insert(at, word)
        elif at < len(words) and not kept:
            words[at : at + 1] = [word] if way == "replace" else []
    return words


def run(recipe: Any, folder: Path) -> None:
    """Run the program, and look at what it says."""
    number, edits, disk, steps, form = recipe
    lay_out(folder, steps, form)
    words = change(LINES[number].split(), edits)
    if words[0] in SLOW and words == LINES[number].split() and words[0] != "bench":
        return
    out, err = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        stack.enter_context(mock.patch.dict(os.environ, {"SALIENCE_CACHE": ""}))
        if disk:
            problem = OSError(getattr(errno, disk), os.strerror(getattr(errno, disk)))
            stack.enter_context(mock.patch.object(os, "fsync", side_effect=problem))
            stack.enter_context(mock.patch.object(Path, "mkdir", side_effect=problem))
        code = main(words)
    expect_said(words, code, err.getvalue())


def expect_said(words: list[str], code: int, said: str) -> None:
    """Expect success, or one line on standard error and exit code 2, beside that about the sample."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("No picture given: ")]
    if code == 0 or (code == 1 and words[0] == "compare" and not lines):
        return
    if code != 2 or len(lines) != 1 or not lines[0].startswith("salience: "):
        raise WrongError(f"exit code {code} for {words}, and: {said[-1500:]}")
    raise SalienceError(lines[0])


edits = st.lists(
    st.tuples(
        st.sampled_from(("insert", "replace", "remove")),
        st.integers(0, 30),
        st.one_of(st.sampled_from(WORDS), st.text(max_size=5)),
    ),
    max_size=2,
)
KIND = Kind(
    "command lines",
    st.tuples(
        st.integers(0, len(LINES) - 1),
        edits,
        st.sampled_from((None, None, None, None, "ENOSPC", "EROFS", "EACCES")),
        values.damages,
        st.sampled_from(pictures.FILES),
    ),
    run,
)
