"""The command line: what it prints and writes, and how it refuses."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pil

from salience import Explanation, registry, specs
from salience.cli import files, main, page
from salience.cli.measures_page import write_page
from salience.cli.options import Options
from salience.describe.explanation import describe_backend

TOY = ("--box", "toy:colour")
FAST = ("--method", "rise", *TOY, "--budget", "60")


def patch(path: Path, colour: tuple[int, int, int] = (255, 0, 0)) -> Path:
    """Save a dull picture with a patch of one colour in its upper right."""
    pixels = np.full((64, 96, 3), 100, np.uint8)
    pixels[8:24, 64:80] = colour
    pil.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """Return the path of a picture with a red patch."""
    return str(patch(tmp_path / "red.png"))


def test_explain_prints_one_json_object_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads lines: nothing else may stand on standard output."""
    folder = tmp_path / "in"
    folder.mkdir()
    patch(folder / "a.png"), patch(folder / "b.png", (0, 255, 0))

    assert main(["explain", str(folder), *FAST, "--json", "--out", str(tmp_path / "out")]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(each["image"]).name for each in lines] == ["a.png", "b.png"]
    assert [each["target"]["name"] for each in lines] == ["red", "green"]
    assert all(each["passes"] == 60 and each["backend"] == "exact" and Path(each["files"][0]).exists() for each in lines)


def test_explain_writes_picture_record_and_numbers(photo: str, tmp_path: Path) -> None:
    """The record loads again with the settings that were given."""
    out = tmp_path / "out"

    assert main(["explain", photo, *FAST, "--cells", "5", "--out", str(out)]) == 0

    assert sorted(each.name for each in out.iterdir()) == ["red.rise.json", "red.rise.png", "red.rise.salience"]
    assert Explanation.load(out / "red.rise.salience").settings["cells"] == 5
    assert json.loads((out / "red.rise.json").read_text())["settings"]["cells"] == 5


def test_explain_says_where_the_evidence_lies(photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The patch is red and in the upper right; windows that hide it cost the score."""
    args = ["--method", "occlusion", "--window", "6", "--stride", "3"]

    main(["explain", photo, *TOY, *args, "--out", str(tmp_path / "out")])

    said = capsys.readouterr().out
    assert "top right" in said
    assert "red" in said
    assert "passes" in said
    assert "red.occlusion.png" in said


@pytest.mark.parametrize(
    ("backend", "check", "said"),
    [
        ("exact", {}, "exact passes"),
        ("exact", {"refused": "it is no faster"}, "exact passes (a faster backend was tried, but it is no faster)"),
        ("openvino", {"speed-up": 2.04}, "fast passes (openvino, 2.0× as fast, scores agree with exact)"),
        ("torch channels-last", {}, "fast passes (torch channels-last, as asked for, not held against exact)"),
    ],
)
def test_a_backend_is_said_to_agree_only_where_that_was_looked_at(backend: str, check: dict[str, Any], said: str) -> None:
    """One that is named is taken without a look."""
    assert describe_backend({"backend": backend, "check": check}) == said


def test_no_record_saves_none(photo: str, tmp_path: Path) -> None:
    """The record holds the photograph, which some must not copy."""
    main(["explain", photo, *FAST, "--no-record", "--out", str(tmp_path / "out")])

    assert not list((tmp_path / "out").glob("*.salience"))


def test_versus_explains_a_contrast(photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target and a second class make a pair."""
    main(["explain", photo, *FAST, "--target", "red", "--versus", "blue", "--json", "--out", str(tmp_path / "out")])

    target = json.loads(capsys.readouterr().out)["target"]
    assert target["name"] == "red − blue"
    assert target["index"] is None


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Names grow by the ending, then by the folder, until all differ."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    same = [tmp_path / "a" / "cat.jpg", tmp_path / "b" / "cat.jpg"]

    assert files.name_files(same) == ["a-cat-jpg", "b-cat-jpg"]
    assert files.name_files([tmp_path / "cat.jpg", tmp_path / "Cat.png"]) == ["cat-jpg", "Cat-png"]


def test_the_sample_is_explained_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first command needs no argument, and its answer is right: the sample shows an espresso."""
    assert main(["explain", "--budget", "60", "--json", "--backend", "exact", "--out", str(tmp_path)]) == 0

    said = capsys.readouterr()
    assert json.loads(said.out)["target"]["name"] == "espresso"
    assert "Rachel Michetti, CC0" in said.err


def test_a_warning_is_one_sentence_too(photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the line of code that it comes from; how warnings are shown elsewhere stays as it was."""
    (tmp_path / "warns.py").write_text(
        "import warnings\n"
        "warnings.simplefilter('always')\n"
        "warnings.warn('guessed,\\nso look', stacklevel=1)\n"
        "def score(images): return [[0.5, 0.5]] * len(images)\n"
    )
    shown = warnings.showwarning
    with warnings.catch_warnings():
        box = f"py:{tmp_path / 'warns.py'}:score?size=32"
        main(["explain", photo, *FAST[:2], "--budget", "60", "--box", box, "--out", str(tmp_path / "out")])
    assert capsys.readouterr().err.splitlines()[:1] == ["salience: guessed, so look"]
    assert warnings.showwarning is shown


def boxes(folder: Path) -> Path:
    """Write boxes that misbehave."""
    path = folder / "bad.py"
    path.write_text(
        "import numpy as np\n"
        "def nan(images): return np.full((len(images), 3), np.nan)\n"
        "def shape(images): return np.full((len(images) + 1, 3), 0.3)\n"
        "def raises(images): raise RuntimeError('first line\\nsecond line')\n"
    )
    return path


@cache
def draw_bomb() -> bytes:
    """Make a small file of 400 million pixels, once."""
    file = io.BytesIO()
    pil.new("1", (20000, 20000)).save(file, "PNG")
    return file.getvalue()


def pictures(folder: Path) -> None:
    """Write files that are no pictures, or not whole, or too much."""
    whole = patch(folder / "red.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "void").mkdir()
    (folder / "bomb.png").write_bytes(draw_bomb())
    frames = [pil.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])


BAD = {
    "missing file": ("nope.jpg", "got nothing there"),
    "cut file": ("cut.png", "damaged"),
    "no picture": ("text.jpg", "got text"),
    "empty file": ("empty.jpg", "empty file"),
    "bomb": ("bomb.png", "pixels"),
    "animation": ("moving.gif", "2 frames"),
    "empty folder": ("void", "got none"),
    "one bad among good": ("red.png cut.png", "damaged"),
    "method": ("red.png --method ries", "did you mean rise"),
    "box kind": ("red.png --box tmm:resnet50", "timm"),
    "box": ("red.png --box toy:color", "colour"),
    "model": ("red.png --box timm:resnet5", "resnet50"),
    "class": ("red.png --target gren", "green"),
    "index": ("red.png --target 3", "from 0 to 2"),
    "setting": ("red.png --method rise --cels 3", "cells"),
    "setting of another method": ("red.png --method occlusion --cells 3", "setting of occlusion"),
    "no number": ("red.png --method rise --cells many", "expected a whole number for --cells, got 'many'"),
    "range": ("red.png --method rise --keep 2", "0 < keep < 1"),
    "choice": ("red.png --method iassa --variant best", "official, intent or plus"),
    "no value": ("red.png --method rise --cells", "--cells"),
    "budget": ("red.png --budget none", "expected a budget"),
    "small budget": ("red.png --method occlusion --window 8 --stride 4 --budget 3", "raise the budget"),
    "backend": ("red.png --backend fastest", "backend"),
    "NaN": ("red.png --box py:bad.py:nan?size=32", "NaN"),
    "shape": ("red.png --box py:bad.py:shape?size=32", "expected scores (n classes) of 1 picture"),
    "raises": ("red.png --box py:bad.py:raises?size=32", "first line"),
    "out is a file": ("red.png --out text.jpg", "got a file"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_sentence(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error, nothing on standard output, exit code 2, and no file that was not there."""
    pictures(tmp_path), boxes(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    given = ["explain", *([] if "--box" in words else TOY), *words.split()]

    code = main(given)

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert said in err
    assert {each for each in tmp_path.rglob("*") if "__pycache__" not in str(each)} == before


@pytest.mark.parametrize(
    ("words", "said"), [("explian", "explain"), ("list method", "methods"), ("list boxes toy:col", "colour")]
)
def test_a_wrong_command_is_answered_with_close_ones(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also the program's own words are names."""
    assert main(words.split()) == 2
    assert f"{said}" in capsys.readouterr().err


def test_list_says_what_each_method_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """The annotation of `box` is the need."""
    assert main(["list", "methods", "--json"]) == 0

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(registry.list_names("methods"))
    assert rows["rise"]["needs"] == "any box"


def test_list_shows_a_methods_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Name, default and help come from the class's fields."""
    main(["list", "methods", "rise"])

    said = capsys.readouterr().out
    assert "--cells" in said
    assert "cells along each side of the grid" in said
    assert "Petsiuk" in said


def test_list_says_what_each_measure_is(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, each protocol with its direction and needs."""
    assert main(["list", "measures", "--json"]) == 0

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(registry.list_names("measures"))
    assert rows["stability"]["protocols"][0] == {"name": "noise", "better": "lower", "needs": ["method"]}
    assert main(["list", "measures"]) == 0
    assert "Say whether the map's highest point lies on the object" in capsys.readouterr().out


def test_list_shows_a_measures_protocols_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """By the specs that make them, with the paper."""
    main(["list", "measures", "randomisation"])

    said = capsys.readouterr().out
    assert "randomisation/cascade" in said
    assert "lower is better" in said
    assert "the method, gradients" in said
    assert "of the weights or of the class" in said
    assert "NeurIPS 2018." in said


def test_a_wrong_measure_is_answered_with_close_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """As any name."""
    assert main(["list", "measures", "stabilty"]) == 2
    assert "expected the name of a measure, got 'stabilty': did you mean stability" in capsys.readouterr().err


def test_list_finds_boxes_and_classes_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    """A pattern without wildcards matches anywhere in a class's name."""
    main(["list", "boxes", "toy:co*"])
    main(["list", "classes", "re", *TOY])

    assert capsys.readouterr().out.split("\n") == [
        "toy:colour",
        "toy:corner",
        "toy:constant",
        "   0  red",
        "   1  green",
        "",
    ]


def test_help_has_the_chosen_methods_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Another method, another group of options."""
    main(["explain", "--method", "iassa", "--help"])

    said = capsys.readouterr().out
    assert "Settings of iassa" in said
    assert "--rounds" in said
    assert "--cells" not in said


def test_the_documented_defaults_are_the_librarys() -> None:
    """They are written a second time so that the help shows them without importing torch."""
    assert Options.box == specs.DEFAULT_BOX


def test_the_help_page_is_up_to_date() -> None:
    """Made by `make docs`."""
    assert (Path(__file__).parent.parent / "docs" / "cli.md").read_text(encoding="utf-8") == page.write_page()


def test_the_catalogue_of_measures_is_up_to_date() -> None:
    """Made by `make docs`."""
    said = (Path(__file__).parent.parent / "docs" / "measures.md").read_text(encoding="utf-8")
    assert said == write_page()


def test_the_program_starts_without_torch() -> None:
    """`salience --help` answers at once, and --version too."""
    program = "import sys, salience.cli as c; c.main(['--help']); c.main(['--version']); print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603  # our own words

    assert "explain" in done.stdout
    assert done.stdout.endswith("0.1.0\nFalse\n")


@pytest.mark.parametrize("name", ["--box", "--model"])
def test_a_box_may_be_called_a_model(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two names of one option, in every command that takes a box."""
    assert main(["list", "classes", name, "toy:colour?size=8"]) == 0
    assert main(["explain", "--help"]) == main(["measure", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "red" in shown
    assert shown.count("--model") == 2


def test_words_where_options_are_wanted_are_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """With the help to read."""
    assert main(["train", "plain", "shapes:plain"]) == 2
    assert "expected options alone after `train plain`, got 'shapes:plain': see `salience train plain --help`" in (
        capsys.readouterr().err
    )


def test_help_may_be_piped_into_what_reads_its_head(tmp_path: Path) -> None:
    """Nobody is told of an error where nobody reads any more."""
    ask = f"{sys.executable} -m salience train plain --help | head -n 1"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path)  # noqa: S603, S607  # our own words
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
