"""Names of files, classes and boxes are shown as they are: they command no terminal, spreadsheet or browser."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

import salience
from salience.bench import report, tables
from salience.bench.journal import Journal
from salience.boxes import toy
from salience.cli import main, terminal
from salience.explanation import ClassScore
from salience.trainers._classifier import output
from tests.hostile import NASTY

CLEARS = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an explanation whose names are hostile."""
    why = salience.explain("toy:colour", toy.picture(32), "occlusion", window=16, stride=16)
    name = f"red{CLEARS}[bold]\u202egnp\nbox  mine"
    why = replace(why, image=name, target=replace(why.target, name=name), top5=(ClassScore(0, name, 0.5),))
    folder = tmp_path_factory.mktemp("record")
    (folder / "[").mkdir()
    why.save(folder / "[" / "oops].salience")  # [/oops] closes a style of rich
    return folder / "[/oops].salience"


def test_a_name_with_markup_or_escapes_is_shown(
    record: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`[/oops]` closes nothing, and nothing is cleared."""
    monkeypatch.chdir(record.parents[1])
    assert main(["measure", "[/oops].salience", "--box", "toy:colour", "--measures", "sparsity"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("[/oops].salience: <occlusion of 'red")
    assert "sparsity/gini" in said
    assert not set(said) & set("\x1b\x07\u202e")


def test_an_explanation_of_a_hostile_file_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of the file and of the classes, on the terminal and as JSON."""
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / f"[red]{CLEARS.replace('/', '')}\n.png"
    toy_picture = salience.explain("toy:colour", toy.picture(32), "gradient").picture
    toy_picture.pixels.save(picture)
    (tmp_path / "names.txt").write_text(f"{CLEARS}[/]\n$\\frac{{$\n=b", encoding="utf-8")
    (tmp_path / "net.py").write_text("from salience.boxes.toy import Colour", encoding="utf-8")
    words = ["explain", picture.name, "--box", "py:net.py:Colour?size=32&classes=names.txt", "--method", "gradient"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "[red]\\u001b[2J" in said.out
    assert not set(said.out + said.err) & set("\x1b\x07")
    assert main([*words, "--json"]) == 0
    assert CLEARS in json.loads(capsys.readouterr().out)["top5"][0]["name"] + CLEARS


def test_an_error_shows_what_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error."""
    assert main(["explain", f"none{CLEARS}[/x].png"]) == 2
    said = capsys.readouterr().err
    assert "none\\u001b[2J" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\u202egnp.exe", "\udcff", "a\rb", "\x7f", "\u2028"])
def test_what_a_terminal_would_obey_is_written_out(text: str) -> None:
    """Escapes, C1 controls, marks of direction, bytes that are no text; line ends where one line is meant."""
    assert terminal.clean(text).isprintable()
    assert terminal.clean_line("a\nb") == "a\\u000ab"
    assert terminal.clean("señal 信号 \N{DOG FACE}\n") == "señal 信号 \N{DOG FACE}\n"
    assert json.loads(json.dumps(text)) == json.loads(terminal.clean(json.dumps(text)))


def make_report(folder: Path) -> Path:
    """Report a run whose names are hostile."""
    rows = [
        {"cell": "x", "data": NASTY["html"], "box": NASTY["cell"], "measure": "deletion/rise-2018", "better": "lower"}
        | {"method": name, "seed": 0, "picture": "0001", "value": 0.5}
        for name in NASTY.values()
    ]
    (folder / "cells").mkdir()
    Journal(folder / "cells" / "x.jsonl", "digest").add("0001", rows)
    return report.write_report(folder)


def test_no_name_is_a_formula_in_a_table(tmp_path: Path) -> None:
    """A spreadsheet runs a cell that begins with = + - or @."""
    page = make_report(tmp_path)
    for line in page.with_suffix(".csv").read_text(encoding="utf-8").splitlines():
        assert not [cell for cell in line.split(",") if cell.strip('"')[:1] in tuple("=+@")]
    assert "'=cmd|" in page.with_suffix(".csv").read_text(encoding="utf-8")
    assert tables._make_cell(-0.5) == -0.5


def test_no_name_is_an_element_in_a_report(tmp_path: Path) -> None:
    """In Markdown and on the page; the page moreover runs its own script alone."""
    page = make_report(tmp_path)
    for file in (page, page.with_suffix(".md")):
        text = file.read_text(encoding="utf-8")
        assert NASTY["html"] not in text
        assert html.escape("<script>alert(1)</script>", quote=False) in text
    assert "\\[x\\](javascript:" in page.with_suffix(".md").read_text(encoding="utf-8")
    head = page.read_text(encoding="utf-8").partition("<title>")[0]
    assert "Content-Security-Policy" in head
    assert "default-src &#39;none&#39;" in head


def test_no_name_is_an_element_in_the_card_of_a_trained_box() -> None:
    """A data set may be called anything, and the card is a page that sites show."""
    row = {"step": 3}
    about = {
        "name": NASTY["image"],
        "of": f"toy:{NASTY['pipe']}`",
        "data": NASTY["html"],
        "pictures": 3,
        "held": 1,
        "seconds": 2.0,
    }
    about |= {"config": {"scratch": False}, "trainer": {"name": NASTY["link"]}, "loop": {}, "before": row, "after": row}

    text = output.card(about, Path("trained"))

    assert not [each for each in ("<script>", "<img", "[x](", "| a|b") if each in text]
    assert "`trained:trained`" in text
