"""What the house looks like, counted from its sources: `python -m benchmarks.house`. Prints Markdown.

Holds the package at a revision (`--at`, by default before the move) against the checkout: files by room, sizes, and the
arrows between rooms, one for each file that imports another, wherever in
the file the import stands, but for those under `if TYPE_CHECKING`.
`--words` lists instead the names that the house no longer uses, and functions that are called by a participle.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path, PurePosixPath
from statistics import median

BEFORE = "0f3c1b3"
ROOT = Path(__file__).parents[1]
Sources = dict[PurePosixPath, str]  # paths below the package
Function = ast.FunctionDef | ast.AsyncFunctionDef

WORDS = {  # names that were renamed: what the house says in their place
    "image, baseline": "ahead behind",
    "backend": "lane lanes",
    "asynchronous, submit, check_weights, submit_blended": "apart begun renew through",
    "gradient, finite_differences": "slope slopes nudge",
    "activations, forward_from, with_logits": "tap onward bare",
    "Estimate, ClassScore, Measurement, Cost": "Found Told Figure Spent",
    "LayerInfo, ActivationsAndGradients, BatchedMethod": "Anatomy Reading Looks",
    "introspect, or what is inspected": "look looked",
    "similarity, all_classes, jackknife, occlusion_estimate": "likeness every occlude",
    "batch_size, score_cache, coalesce": "pace memo merge",
    "seeding, generator, sample_order, folder_lock": "chance chances visits alone",
    "peak_memory, journal, statistics, selection, unit": "weigh book tally scene",
    "Split, TrainingConfig, attack_mask, student": "Lesson Course permitted pupil",
    "population, dimensions, task, evaluated, fitness": "people wide deed told judge",
}
KNOWN = {  # a standard term where it stands
    ("engine/estimate/moments.py", "merge"): "of two running moments",
    ("trainers/_classifier/attack.py", "pace"): "of the attack's steps",
    ("data/shapes.py", "scene"): "a synthetic scene",
}
PARTICIPLES = set("told kept drawn found made shown seen known given taken written begun left held said laid sent".split())  # noqa: SIM905  # a line


def main() -> None:
    """Count, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--at", default=BEFORE, help="the revision that the checkout is held against")
    options.add_argument("--words", action="store_true", help="list leftover names of the checkout only")
    options.add_argument("--into", type=Path, help="a page that has the tables between <!-- house --> and <!-- end -->")
    given = options.parse_args()
    now = read_checkout()
    if given.words:
        print_words(now)
        return
    before, tables = read_revision(given.at), io.StringIO()
    with redirect_stdout(tables if given.into else sys.stdout):
        print_rooms(before, now, given.at)
        print_sizes(before, now, given.at)
        for sources, title in ((before, given.at), (now, "now")):
            print_arrows(sources, title)
    if given.into:
        head, _, rest = given.into.read_text(encoding="utf-8").partition("<!-- house -->\n")
        page = f"{head}<!-- house -->\n{tables.getvalue()}<!-- end -->{rest.partition('<!-- end -->')[2]}"
        given.into.write_text(page, encoding="utf-8")


def read_checkout() -> Sources:
    """Read the package as it is."""
    package = ROOT / "salience"
    files = sorted(package.rglob("*.py"))
    return {PurePosixPath(file.relative_to(package).as_posix()): file.read_text(encoding="utf-8") for file in files}


def read_revision(revision: str) -> Sources:
    """Read the package at a revision, from git."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", revision, "salience"]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        texts = {each.name: opened.extractfile(each) for each in opened if each.name.endswith(".py")}
        return {PurePosixPath(name).relative_to("salience"): file.read().decode() for name, file in texts.items() if file}


def print_rooms(before: Sources, now: Sources, revision: str) -> None:
    """Print files and lines by folder, before and now."""
    print(f"| room | files, {revision} | lines | files, now | lines |\n|---|---|---|---|---|")
    rooms = sorted({str(path.parent) for path in [*before, *now]})
    for room in [*rooms, None]:
        cells = []
        for sources in (before, now):
            texts = [
                text
                for path, text in sources.items()
                if room in (None, str(path.parent)) and (path.name != "__init__.py" or room == ".")
            ]
            cells += [f"{len(texts)}", f"{sum(text.count(chr(10)) for text in texts):,}"] if texts else ["–", "–"]
        name = "**all**" if room is None else "(top)" if room == "." else f"`{room}`"
        print(f"| {name} | {' | '.join(cells)} |")
    print("\nFiles without the `__init__.py` of folders.\n")


def print_sizes(before: Sources, now: Sources, revision: str) -> None:
    """Print how long functions and files are."""
    rows: dict[str, list[str]] = defaultdict(list)
    for sources in (before, now):
        lengths = [end - first + 1 for first, end in map(span, functions(sources))]
        files = {path: text.count("\n") for path, text in sources.items()}
        largest = max(files, key=lambda path: files[path])
        rows["functions"].append(f"{len(lengths):,}")
        rows["median function, lines"].append(f"{median(lengths):g}")
        rows["functions within 20 lines"].append(f"{sum(length <= 20 for length in lengths) / len(lengths):.1%}")
        rows["longest function, lines"].append(f"{max(lengths)}")
        rows["median file, lines"].append(f"{median(length for length in files.values() if length > 1):g}")
        rows["largest file, lines"].append(f"{files[largest]} (`{largest}`)")
        rows["files in the fullest folder"].append(fullest(sources))
    print(f"| size | {revision} | now |\n|---|---|---|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")
    print("\nA function's length is from `def` to its last line, docstring included.\n")


def functions(sources: Sources) -> Iterator[Function]:
    """Iterate over all functions, methods and inner functions."""
    for text in sources.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                yield node


def span(node: Function) -> tuple[int, int]:
    """Give the first and the last line."""
    return node.lineno, node.end_lineno or node.lineno


def fullest(sources: Sources) -> str:
    """Name the folder with most files that are not registered by their names, and how many it has."""
    registries = {"methods", "measures", "boxes", "data", "trainers"}
    counts = Counter(str(path.parent) for path in sources if path.name != "__init__.py")
    folder, count = max(((name, n) for name, n in counts.items() if name not in registries), key=lambda pair: pair[1])
    return f"{count} (`{folder}`; registries left out)"


def print_arrows(sources: Sources, title: str) -> None:
    """Print for each room which rooms it imports and by how many files, and the circles."""
    arrows = count_arrows(sources)
    print(f"| room, {title} | imports |\n|---|---|")
    for room in sorted(arrows):
        print(f"| `{room}` | {', '.join(f'`{to}` {n}' for to, n in sorted(arrows[room].items()))} |")
    circles = [" ↔ ".join(f"`{room}`" for room in circle) for circle in find_circles(arrows)]
    print(f"\n{sum(map(len, arrows.values()))} arrows. Rooms that reach each other: {'; '.join(circles) or 'none'}.\n")


def count_arrows(sources: Sources) -> dict[str, Counter[str]]:
    """Count the imports from room to room, one for each pair of files."""
    modules = {".".join(("salience", *path.with_suffix("").parts)).removesuffix(".__init__"): path for path in sources}
    arrows: dict[str, Counter[str]] = defaultdict(Counter)
    for path, text in sources.items():
        names = {name for node in walk_run(ast.parse(text)) for name in imported(node)}
        targets = {modules[name] for name in names if name in modules and name != "salience"}
        parents = {name.rpartition(".")[0] for name in names - modules.keys()}
        targets |= {modules[name] for name in parents & modules.keys()}
        for target in targets:
            if target != PurePosixPath("__init__.py") and room_of(path) != room_of(target):
                arrows[room_of(path)][room_of(target)] += 1
    return arrows


def walk_run(node: ast.AST) -> Iterator[ast.AST]:
    """Iterate over all that is run: not what stands under `if TYPE_CHECKING`."""
    yield node
    if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
        for child in ast.iter_child_nodes(node):
            yield from walk_run(child)


def imported(node: ast.AST) -> Iterator[str]:
    """Name what an import names, modules and what is taken from them alike."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: PurePosixPath) -> str:
    """Name the room of a file: its folder; what a family shares (`_de_cam`) is of the family's; at the top, the file."""
    if len(path.parts) == 1:
        return "nouns" if path.stem in ("types", "errors", "case", "estimates", "bands") else path.stem
    return "/".join(part for part in path.parent.parts if not part.startswith("_"))


def find_circles(arrows: dict[str, Counter[str]]) -> list[list[str]]:
    """Group the rooms that reach each other."""
    reach = {room: set(to) for room, to in arrows.items()}
    while True:
        wider = {room: to.union(*(reach.get(each, ()) for each in to)) for room, to in reach.items()}
        if wider == reach:
            break
        reach = wider
    circles = {frozenset(to for to in reach[room] if room in reach.get(to, ())) for room in reach if room in reach[room]}
    return sorted(sorted(circle) for circle in circles)


def print_words(sources: Sources) -> None:
    """Print each leftover with its file and line; say so where there is none."""
    instead = {name: word for word, names in WORDS.items() for name in names.split()}
    lines = []
    for path, text in sources.items():
        for line, kind, name in sorted(iterate_names(ast.parse(text), path.stem)):
            word = name.strip("_")
            if word in instead and (str(path), word) not in KNOWN:
                lines.append(f"{path}:{line}: {kind} {name}: {instead[word]}")
            elif kind == "function" and is_participle(word):
                lines.append(f"{path}:{line}: {kind} {name}: a verb in the imperative")
    print("\n".join(lines) or "no name of the old house is left")


def iterate_names(tree: ast.Module, stem: str) -> Iterator[tuple[int, str, str]]:
    """Iterate over the names that a file makes: line, kind, name."""
    yield 1, "file", stem
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.lineno, "class", node.name
        elif isinstance(node, Function):
            adjective = node.returns is not None and ast.unparse(node.returns) == "bool"
            yield node.lineno, "truth value" if adjective or is_property(node) else "function", node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, "argument", node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, "local or field", node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, "attribute", node.attr


def is_property(node: Function) -> bool:
    """Tell whether a function is a property, which is named as data are."""
    return any("property" in ast.unparse(each) for each in node.decorator_list)


def is_participle(name: str) -> bool:
    """Tell whether a name is a participle alone, such as `opened`; with a noun (`masked_score`) it is an adjective."""
    return name in PARTICIPLES or (
        bool(re.fullmatch(r"[a-z]+[^e]ed", name)) and name not in ("embed", "feed", "seed", "speed")
    )


if __name__ == "__main__":
    main()
