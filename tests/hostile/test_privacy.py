"""What is written is for whom its user lets, and holds the photograph only where that is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from salience import explain, measure
from salience.cli import main
from salience.errors import RecordError
from salience.explanation import Explanation

SMALL = ["--box", "toy:colour", "--method", "occlusion", "--window", "16", "--stride", "16"]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """Noise, so that any piece of its file is known again, over red."""
    pixels = np.random.default_rng(0).integers(0, 60, (48, 40, 3), np.uint8)
    pixels[:, :20, 0] += 190
    file = tmp_path / "ward 7" / "jane.png"
    file.parent.mkdir()
    pil.fromarray(pixels).save(file)
    return file


@pytest.fixture
def umask() -> Iterator[None]:
    """Let nobody else read what is written."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_nobody_may_read_a_file_whom_the_umask_keeps_out(photograph: Path, tmp_path: Path) -> None:
    """The picture, the record and the numbers; they were for all to read whatever the umask."""
    assert main(["explain", str(photograph), *SMALL, "--out", str(tmp_path / "out")]) == 0
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (tmp_path / "out").iterdir()}
    (tmp_path / "plain").touch()
    plain = oct((tmp_path / "plain").stat().st_mode & 0o777)  # 0o600, but on Windows, which has no umask
    assert modes == dict.fromkeys(("jane.occlusion.png", "jane.occlusion.salience", "jane.occlusion.json"), plain)
    assert os.name == "nt" or plain == "0o600"


def test_no_file_holds_the_photograph_where_it_is_not_wanted(photograph: Path, tmp_path: Path) -> None:
    """Nor the folder it came from; the drawn page is of the map alone, and alike for any photograph of this map."""
    assert main(["explain", str(photograph), *SMALL, "--no-photograph", "--out", str(tmp_path / "out")]) == 0
    piece = photograph.read_bytes()[200:232]
    for file in (tmp_path / "out").iterdir():
        assert piece not in file.read_bytes()
        assert b"ward 7" not in file.read_bytes()
    why = Explanation.load(tmp_path / "out" / "jane.occlusion.salience")
    assert (why.has_photograph, why.image) == (False, "jane.png")
    with pil.open(tmp_path / "out" / "jane.occlusion.png") as page:
        alone = page.width
    assert main(["explain", str(photograph), *SMALL, "--out", str(tmp_path / "whole")]) == 0
    with pil.open(tmp_path / "whole" / "jane.occlusion.png") as page:
        assert page.width > 1.8 * alone


def test_a_record_without_its_photograph_is_drawn_and_says_what_it_lacks(photograph: Path) -> None:
    """It cannot be measured until its photograph is given again; then it is measured as before."""
    why = explain("toy:colour", photograph, "occlusion", window=16, stride=16)
    bare = why.without_photograph()
    assert bare.plot(size=64) is not None
    with pytest.raises(RecordError, match="expected the photograph of jane.png, got a record that was saved without it"):
        measure("toy:colour", bare, ["deletion"])
    again = measure("toy:colour", bare.with_photograph(photograph), ["deletion"])
    assert again[0].value == measure("toy:colour", why, ["deletion"])[0].value


def test_another_photograph_is_refused(photograph: Path) -> None:
    """Its size tells."""
    bare = explain("toy:colour", photograph, "occlusion", window=16, stride=16).without_photograph()
    with pytest.raises(RecordError, match="expected the photograph of jane.png, 48×40, got 32×32"):
        bare.with_photograph(np.zeros((32, 32, 3), np.uint8))


def test_the_command_line_measures_a_record_with_the_photograph_it_is_given(photograph: Path, tmp_path: Path) -> None:
    """Both ways in, one figure out."""
    record = (
        explain("toy:colour", photograph, "occlusion", window=16, stride=16)
        .without_photograph()
        .save(tmp_path / "a.salience")
    )
    words = ["measure", str(record), "--box", "toy:colour", "--measures", "deletion"]
    assert main(words) == 2
    assert main([*words, "--picture", str(photograph)]) == 0
