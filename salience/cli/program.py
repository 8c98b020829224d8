"""The program for what was typed: which commands there are, and the options of the one that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App


def make_app(words: Sequence[str] = ()) -> App:
    """Build the program for what was typed: `explain` has the options of the method that was chosen."""
    from cyclopts import App

    from salience import __version__
    from salience.cli import listing
    from salience.cli.bench import bench
    from salience.cli.check import check
    from salience.cli.compare import compare
    from salience.cli.export import export
    from salience.cli.measure import measure
    from salience.cli.report import report

    made = App(name="salience", help=ABOUT, version=__version__, help_format="plaintext", result_action="return_value")
    if words[:1] == ["explain"]:
        from salience.cli import explain

        made.command(explain.make_command(find_method(words)), name="explain")
    else:
        made.command(_explain, name="explain")  # its outline: without the methods there is no need to import torch
    if words[:1] == ["fit"]:
        from salience.cli import fit

        made.command(fit.make_app(), name="fit")
    else:
        made.command(_fit, name="fit")
    if words[:1] == ["train"]:
        from salience.cli import train

        made.command(train.make_app(), name="train")
    else:
        made.command(_train, name="train")
    made.command(listing.make_app(), name="list")
    for each in (check, measure, bench, report, compare, export):
        made.command(each)
    return made


def find_method(words: Sequence[str]) -> str | None:
    """Find the method on a command line before it is parsed."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word == "--":
            return None
        if word == "--method":
            return after
        if word.startswith("--method="):
            return word.removeprefix("--method=")
    return None


def _explain() -> None:
    """Explain pictures: draw what the classifier saw in them."""


def _fit() -> None:
    """Train an explainer for a box, on pictures; labels are not looked at."""


def _train() -> None:
    """Train a classifier on labelled pictures, so that it is right and its maps are sparse; the result is a box."""


ABOUT = """Why did the image classifier say that? Saliency maps for any classifier.

Begin with `salience explain`, which explains a sample photograph, or `salience explain PICTURE`.
"""
