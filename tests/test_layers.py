"""Who imports whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import salience

ROOT = Path(salience.__file__).parent
LEVELS = (
    {"types", "errors", "files", "case", "estimates", "bands", "limits", "markdown", "schema", "tensor_file"},
    {"registry", "specs", "picture", "explanation", "engine"},
    {"runtime"},
    {"boxes", "methods", "trainers", "measures", "checks", "data", "draw"},
    {"tasks", "describe"},
    {"bench", "interop"},
    {"cli", "web"},
    {"__main__"},
)
LATE = {
    "torchvision",
    "timm",
    "transformers",
    "matplotlib",
    "scipy",
    "pyarrow",
    "jinja2",
    "datasets",
    "torchmetrics",
    "accelerate",
    "filelock",
    "onnx",
    "onnxruntime",
    "openvino",
    "sklearn",
    "tifffile",
    "joblib",
    "keras",
    "quantus",
    "pydicom",
    "highdicom",
    "rasterio",
    "httpx",
    "stamina",
}  # seconds to import, or extras
FILES = sorted(ROOT.rglob("*.py"))
# Which rooms of the engine a room may import; the helpers beside them, all may.
ROOMS = {
    "perturb": (),
    "estimate": ("perturb",),
    "query": ("perturb",),
    "inside": ("query", "perturb"),
    "training": ("inside", "query", "perturb"),
}


# Files of one level that may import each other, the first the second.
WITHIN = {
    ("explanation", "picture"),
    ("specs", "registry"),
    ("case", "types"),
    ("case", "errors"),
    ("estimates", "types"),
    ("limits", "errors"),
    ("files", "errors"),
    ("schema", "limits"),
    ("tensor_file", "limits"),
    ("tensor_file", "files"),
}


def part(file: Path) -> str:
    """Name the folder or the file right under the package; the package itself has none."""
    inside = file.relative_to(ROOT)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def level(name: str) -> int:
    """Return the level of a part; a new one has to be given its level above."""
    return next(number for number, names in enumerate(LEVELS) if name in names)


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """List the modules that are imported, with their lines; `from salience import x` is salience.x."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            module = node.module or ""
            found += [(node.lineno, f"{module}.{each.name}" if module == "salience" else module) for each in node.names]
    return found


def imported_names(tree: ast.AST) -> list[tuple[int, str]]:
    """List what is imported by its whole name, whether this is a module or not."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            found += [(node.lineno, f"{before}{each.name}") for each in node.names]
    return found


def for_types_only(tree: ast.AST) -> set[int]:
    """Return the lines that only the type checker reads."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {inner.lineno for block in blocks for each in block.body for inner in ast.walk(each) if hasattr(inner, "lineno")}


def names_of(file: Path) -> tuple[ast.Module, str]:
    """Read a file."""
    return ast.parse(file.read_text(encoding="utf-8")), str(file.relative_to(ROOT.parent))


def find_wrong_imports(file: Path) -> Iterator[str]:
    """Yield the lines of a file that import what does not lie below it."""
    tree, where = names_of(file)
    own, only_types = part(file), for_types_only(tree)
    for line, module in imported(tree):
        if not module.startswith("salience.") or line in only_types:
            continue
        other = module.split(".")[1]
        if other == own or not any(other in names for names in LEVELS):
            continue
        within = (own, other) in WITHIN
        lazy = (own, other) == ("explanation", "draw")  # `why.plot()` asks for the drawing when it is wanted
        if not (level(other) < level(own) or within or lazy):
            yield f"{where}:{line} {own} may not import {other}"


def test_a_file_imports_from_below_and_from_its_own_folder_only() -> None:
    """A method does not know the boxes, a measure does not know the methods, and nothing knows the surfaces."""
    assert [each for file in FILES if part(file) != "__init__" for each in find_wrong_imports(file)] == []


def find_wrong_arrows(file: Path) -> Iterator[str]:
    """Yield the lines of a file of the engine that import a room which is not below its own."""
    tree, where = names_of(file)
    inner = file.relative_to(ROOT / "engine").parts
    own, only_types = inner[0] if len(inner) > 1 else "", for_types_only(tree)
    for line, module in imported_names(tree):
        parts = module.split(".")
        in_room = parts[:2] == ["salience", "engine"] and len(parts) > 2 and parts[2] in ROOMS and line not in only_types
        if in_room and parts[2] != own and parts[2] not in ROOMS.get(own, ()):
            yield f"{where}:{line} engine/{own} may not import engine/{parts[2]}"


def test_rooms_of_the_engine_import_one_another_in_one_direction() -> None:
    """What lies in no room is a helper of all of them and knows none."""
    assert [each for file in FILES if part(file) == "engine" for each in find_wrong_arrows(file)] == []


def find_early_imports(file: Path) -> Iterator[str]:
    """Yield the lines of a file that import what is slow or optional before it is used."""
    tree, where = names_of(file)
    only_types = for_types_only(tree)
    for node in tree.body:
        for line, module in imported(node) if isinstance(node, ast.Import | ast.ImportFrom) else []:
            top = module.split(".")[0]
            adapter = part(file) == "interop" and file.stem == top  # who asks for it has it
            if top in LATE and not adapter and line not in only_types:
                yield f"{where}:{line} imports {module} at module level: import it where it is used"


def test_slow_or_extra_packages_are_imported_late() -> None:
    """`import salience` stays quick, and works without the extras."""
    assert [each for file in FILES for each in find_early_imports(file)] == []


def test_every_part_has_a_level() -> None:
    """A new folder is placed before it is filled."""
    for file in FILES:
        if part(file) not in ("__init__", "__main__"):
            level(part(file))


def test_the_test_itself_sees_a_wrong_import() -> None:
    """A method that imports a box is found, however it is written."""
    for text in ("from salience.boxes import toy", "from salience import boxes", "import salience.boxes.torch"):
        ((_, module),) = imported(ast.parse(text))
        assert module.split(".")[1] == "boxes"
    assert level("boxes") == level("methods")
    assert all(lower.isdisjoint(upper) for lower, upper in pairwise(LEVELS))
