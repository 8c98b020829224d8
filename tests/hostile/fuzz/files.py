"""Files that this library wrote, damaged or written by somebody else: explanations, explainers, folders of trained boxes."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import load, save

import salience
from salience import specs
from salience.boxes import toy
from salience.cli.console import Console
from salience.cli.output import print_explanation
from salience.describe.explanation import collect_facts
from salience.draw import overlay
from salience.engine.training import explainer
from salience.errors import SalienceError
from salience.explanation import Explanation
from salience.methods.p_tame import PTame
from salience.tasks.measure import measure
from tests import trained
from tests.hostile.fuzz import values
from tests.hostile.fuzz.judge import Kind, WrongError, making

METHODS = {
    "occlusion": {"window": 16, "stride": 16},
    "rise": {"masks": 8},
    "sise": {},
    "extremal-perturbation": {"steps": 2},
    "grad-cam": {},
}
DTYPES = ("float16", "float64", "bfloat16", "complex64", "int64", "uint8", "bool", "float8_e4m3fn")


@cache
def write_record(method: str) -> bytes:
    """Write an explanation that is as it should be."""
    why = salience.explain("toy:colour", toy.picture(), method, **METHODS[method])
    with tempfile.TemporaryDirectory() as folder:
        return why.save(Path(folder, "a.salience")).read_bytes()


@cache
def write_explainer() -> bytes:
    """Write an explainer that is as it should be."""
    return Path(trained.file()).read_bytes()


@cache
def write_trained() -> dict[str, bytes]:
    """Write the folder of a trained box."""
    box = toy.load("colour")
    card = {"of": "toy:colour", "name": "toy:colour, plain", "fingerprint": box.fingerprint, "trainer": {}}
    weights = save({key: value.contiguous() for key, value in box.module.state_dict().items()})
    return {"box.json": json.dumps(card).encode(), "weights.safetensors": weights}


def _replace(plain: Any, path: Any, value: Any) -> Any:
    """Put a value somewhere into plain ones: `path` chooses the way down by numbers."""
    if not path or not isinstance(plain, (dict, list)) or not plain:
        return value
    keys = list(plain) if isinstance(plain, dict) else list(range(len(plain)))
    key = keys[path[0] % len(keys)]
    changed = dict(plain) if isinstance(plain, dict) else list(plain)
    if value == "remove" and len(path) == 1:
        del changed[key]
    else:
        changed[key] = _replace(plain[key], path[1:], value)
    return changed


def edit(content: bytes, key: str, edits: Any) -> bytes:
    """Write a file again, with another header or other arrays; it has no digest then, as files of before."""
    arrays = load(content)
    text = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"][key]
    header = json.loads(text)
    for way, *given in edits:
        if way == "header":
            header = _replace(header, given[0], given[1])
        else:
            name = sorted(arrays)[given[0] % len(arrays)]
            arrays = _edit_arrays(arrays, name, given[1])
    return save(arrays, {key: json.dumps(header)})


def _edit_arrays(arrays: dict[str, torch.Tensor], name: str, way: str) -> dict[str, torch.Tensor]:
    value = arrays[name]
    if way == "drop":
        return {key: each for key, each in arrays.items() if key != name}
    if way in DTYPES:
        return {**arrays, name: value.to(getattr(torch, way))}
    changed = {
        "nan": lambda: (value.float() * torch.nan).to(value.dtype),
        "inf": lambda: torch.full_like(value.float(), torch.inf),
        "flat": lambda: value.reshape(-1),
        "empty": lambda: value[:0],
        "scalar": lambda: torch.tensor(1.0),
        "deep": lambda: value[None, None],
        "half": lambda: value[: len(value) // 2],
        "mask": lambda: value,
    }[way]()
    return {**arrays, "evidence/mask" if way == "mask" else name: changed.contiguous()}


def _write(recipe: Any, good: bytes, key: str) -> bytes:
    way, given = recipe
    with making():
        return values.damage(good, given) if way == "damage" else edit(good, key, given)


def run_record(recipe: Any, folder: Path) -> None:
    """Load, and do with it all that can be done."""
    method, change = recipe
    good = write_record(method)
    (folder / "a.salience").write_bytes(_write(change, good, "salience"))
    why = Explanation.load(folder / "a.salience")
    if change[0] == "damage":
        (folder / "good.salience").write_bytes(good)
        if not _same(why, Explanation.load(folder / "good.salience")):
            raise WrongError("a damaged record loads as another one")
    try:
        use(why, folder)
    except SalienceError as problem:
        raise WrongError(f"refused late: {problem}") from problem
    try:
        measure("toy:colour", why, ["sparsity"])
    except SalienceError as problem:
        if "\n" in str(problem):
            raise WrongError(f"two lines: {problem}") from problem


def _same(one: Explanation, other: Explanation) -> bool:
    same = (
        repr(one.summary()) == repr(other.summary())
        and one.source == other.source
        and one.evidence.keys() == other.evidence.keys()
    )
    pairs = [(one.saliency, other.saliency), *((one.evidence[key], other.evidence[key]) for key in one.evidence)]
    return same and all(torch.equal(*pair) if isinstance(pair[0], torch.Tensor) else pair[0] == pair[1] for pair in pairs)


def use(why: Explanation, folder: Path) -> None:
    """Draw, print, save and read again."""
    overlay.picture(why)
    json.dumps(collect_facts(why, "a.png"), allow_nan=False)
    with redirect_stdout(io.StringIO()):
        print_explanation(Console(), why, "a.png", [])
    repr(why)
    again = Explanation.load(why.save(folder / "again.salience"))
    if not torch.equal(torch.nan_to_num(again.saliency), torch.nan_to_num(why.saliency)) or repr(again.summary()) != repr(
        why.summary()
    ):
        raise WrongError("another record when it is saved again")


def run_explainer(recipe: Any, folder: Path) -> None:
    """Load an explainer and explain with it."""
    change, route = recipe
    (folder / "e.safetensors").write_bytes(_write(change, write_explainer(), "explainer"))
    loaded = explainer.load(folder / "e.safetensors")
    (folder / "good.safetensors").write_bytes(write_explainer())
    if change[0] == "damage":
        good = explainer.load(folder / "good.safetensors")
        if loaded.about != good.about or not all(
            map(torch.equal, loaded.network.state_dict().values(), good.network.state_dict().values())
        ):
            raise WrongError("a damaged explainer loads as another one")
    if route == "export":
        return
    saliency = PTame(str(folder / "e.safetensors"))(toy.load("colour"), toy.picture(), 0)
    if saliency.shape != (32, 32) or not torch.isfinite(saliency).all():
        raise WrongError("an explainer makes a map that is none")


def run_trained(recipe: Any, folder: Path) -> None:
    """Open the folder of a trained box."""
    name, change = recipe
    for each, content in write_trained().items():
        with making():
            changed = _change_trained(each, content, change) if each == name else content
        (folder / each).write_bytes(changed)
    box = specs.open_box(f"trained:{folder}")
    scores = box(toy.picture()[None])
    if not torch.equal(scores, toy.load("colour")(toy.picture()[None])):
        raise WrongError("a damaged box answers otherwise")


def _change_trained(name: str, content: bytes, change: Any) -> bytes:
    way, given = change
    if way == "damage":
        return values.damage(content, given)
    if name == "box.json":
        return json.dumps(_replace(json.loads(content), *given[0][1:]) if given[0][0] == "header" else given).encode()
    arrays = load(content)
    for one in (each for each in given if each[0] == "array"):
        arrays = _edit_arrays(arrays, sorted(arrays)[one[1] % len(arrays)], one[2])
    return save(arrays)


def _paths(depth: int) -> Any:
    return st.lists(st.integers(0, 40), min_size=1, max_size=depth)


placed = st.one_of(
    values.plain,
    st.just("remove"),
    st.sampled_from(([], {}, [[]], "a" * 20_000, [None] * 7, {"layer": 1}, [1, 2], [[1, 1], [2, 2]])),
)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("header"), _paths(4), placed),
        st.tuples(st.just("header"), _paths(2), placed),
        st.tuples(
            st.just("array"),
            st.integers(0, 9),
            st.sampled_from((*DTYPES, "drop", "nan", "inf", "flat", "empty", "scalar", "deep", "half", "mask")),
        ),
    ),
    min_size=1,
    max_size=2,
)
changes = st.one_of(
    st.tuples(st.just("damage"), values.damages), st.tuples(st.just("edit"), edits), st.tuples(st.just("edit"), edits)
)
RECORDS_KIND = Kind("records", st.tuples(st.sampled_from(sorted(METHODS)), changes), run_record, share=9)
EXPLAINERS_KIND = Kind("explainers", st.tuples(changes, st.sampled_from(("explain", "export"))), run_explainer, share=6)
TRAINED_KIND = Kind(
    "trained folders", st.tuples(st.sampled_from(("box.json", "weights.safetensors")), changes), run_trained, share=3
)
