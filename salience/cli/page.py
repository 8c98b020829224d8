"""The help pages as a document: `python -m salience.cli.page docs/cli.md`. A test compares it with the program."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from salience import registry
from salience.cli import fit, train
from salience.cli.bench import bench
from salience.cli.compare import compare
from salience.cli.export import export
from salience.cli.measure import measure
from salience.cli.options import Options
from salience.cli.report import report
from salience.describe.manual import read_manual
from salience.describe.methods import describe_need
from salience.describe.settings import format_default

HEAD = """# The command line

<!-- Made by `make docs`; edit the program's help instead. -->

```
salience explain [PICTURE or FOLDER ...]        explain; without a picture, a sample photograph
salience measure [RECORD or PICTURE ...]        measure explanations, each number by a named protocol
salience bench GRID.toml --out DIR              explain and measure a grid of methods, boxes and data; goes on after a kill
salience report DIR                             one page of it, with tables as CSV and Markdown
salience compare A B                            two runs, picture by picture; exit code 1 past a drift
salience fit p-tame --data DATA                 train an explainer, which explains in one pass; goes on after a kill
salience train scaat --data DATA                train a classifier so that its maps get sparser; the result is a box
salience export p-tame                          classifier and explainer as one ONNX file
salience list methods [NAME]                    what there is and what it needs; with a name, its manual
salience list measures [NAME]                   measures and their protocols; with a name, its manual
salience list boxes [PATTERN]                   kinds of boxes; with a pattern like "timm:*resnet*", their names
salience list classes [PATTERN] [--box BOX]     the classes of a box
salience --version
```

Data go to standard output, words to standard error.
A failure is one sentence and exit code 2, and leaves no file behind.
`SALIENCE_DEBUG=1` shows where it happened.
`--json` works everywhere; `salience explain --json` prints one object a picture. `--model` is another name of `--box`.

## salience explain

For each picture `OUT/NAME.METHOD.png` shows the map beside the photograph, `OUT/NAME.METHOD.json` has the numbers,
and `OUT/NAME.METHOD.salience` is the whole record, which `salience.Explanation.load` reads again.
Pictures of one name get longer names for their files, so that none overwrites another.
"Half of the evidence" is half of what stands above the map's mean, in the fewest pixels that hold it.

```
salience explain cat.jpg --method iassa --variant intent --rounds 3
salience explain cat.jpg --target tabby --versus "tiger cat"
salience explain photographs/ --budget 10s --json > results.jsonl
```
"""


def write_page() -> str:
    """Write the page."""
    parts = [HEAD, _write_rows(list(registry.list_settings(Options)))]
    parts += [
        f"\n## salience {command.__name__}\n\n{inspect.getdoc(command)}\n\n{_write_rows(_list_options(command))}"
        for command in (measure, bench, report, compare, export)
    ]
    for task, name in [*(("fit", each) for each in fit.EXPLAINERS), *(("train", each) for each in train.list_trainers())]:
        about = read_manual(type(registry.make_trainer(name)))
        parts.append(f"\n## salience {task} {name}\n\n```text\n{about}\n```\n")
        given = fit.list_parts(name) if task == "fit" else train.list_parts(name)
        shown = given if name in ("p-tame", "scaat") else given[1:2]  # the others' other options are scaat's
        parts += [f"### {title}\n\n{_write_rows(list(registry.list_settings(cls)))}" for cls, title in shown]
    parts.append("\n## Settings of the methods of salience explain\n")
    for name in registry.list_names("methods"):
        cls = registry.find_method(name)
        own = [each for each in registry.list_settings(cls) if each.name not in Options.__dataclass_fields__]
        parts.append(f"\n### Settings of {name}\n\nNeeds: {describe_need(cls)}.\n\n{_write_rows(own)}")
    return "\n".join(parts)


def _list_options(command: Callable[..., int]) -> list[registry.Setting]:
    """Read a command's options off its function."""
    found = []
    for name, each in inspect.signature(command, eval_str=True).parameters.items():
        if each.kind is inspect.Parameter.KEYWORD_ONLY:
            said = [more.help for more in getattr(each.annotation, "__metadata__", ()) if more.help]
            default = None if each.default is inspect.Parameter.empty else each.default
            found.append(registry.Setting(name, each.annotation, " ".join(said), default))
    return found


def _write_rows(settings: list[registry.Setting]) -> str:
    rows = [
        f"| `--{each.name.replace('_', '-')}` | {format_default(each.default)} | {each.help.replace('|', ' or ')} |"
        for each in settings
    ]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows, ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(write_page(), encoding="utf-8")
