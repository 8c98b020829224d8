"""A file, a record or a folder may name boxes that run nothing; what runs code needs a person's own word."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import salience
from salience import registry, specs
from salience.bench import grid as grids
from salience.boxes import hf, toy
from salience.engine.training.explainer import load
from salience.errors import BoxError, SalienceError
from salience.explanation import Explanation
from salience.methods.p_tame import PTame
from salience.runtime.module import read_weights
from salience.tasks.export import export_onnx
from salience.tasks.measure import measure
from tests import trained

RED = toy.picture(32)
HARMLESS = ("openclip", "zoo", "timm", "torchvision", "hf", "onnx", "openvino", "toy")


@pytest.fixture
def evil(tmp_path: Path) -> str:
    """Write a file that leaves a mark beside it when it runs, and return its spec."""
    code = (
        f"from salience.boxes import toy\nopen({str(tmp_path / 'ran')!r}, 'w').close()\nmake = lambda: toy.load('colour')\n"
    )
    (tmp_path / "evil.py").write_text(code, encoding="utf-8")
    return f"py:{tmp_path / 'evil.py'}:make"


def make_explainer(spec: Any, folder: Path) -> str:
    """Write an explainer whose header names another network."""
    made = trained.colours()
    made = replace(made, about=replace(made.about, source=dict(made.about.source) | {"spec": spec}))
    (folder / "e.safetensors").write_bytes(made.content())
    return str(folder / "e.safetensors")


def test_only_kinds_that_run_nothing_declare_it() -> None:
    """The list is short, and everything else of the package counts as running code."""
    assert {each for each in registry.list_names("boxes") if not registry.runs_code(each)} == set(HARMLESS)
    assert not any(registry.runs_code(each) for each in ("csv", "folder", "coco", "voc", "webdataset", "shapes"))


def test_a_kind_of_another_package_runs_code_unless_it_declares_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does is not known here."""

    class Kind:
        name, RUNS_NOTHING = "kserve", "yes"

        def load(self) -> Any:
            return self

    monkeypatch.setattr(registry, "entry_points", lambda group: [Kind()] if group == "salience.boxes" else [])
    assert registry.runs_code("kserve")
    Kind.RUNS_NOTHING = True  # type: ignore[assignment]  # as a module would declare it
    assert not registry.runs_code("kserve")


def test_an_explainer_that_names_code_does_not_run_it(evil: str, tmp_path: Path) -> None:
    """Whoever explains says the network; then it runs, for it is a person's word."""
    file = make_explainer(evil, tmp_path)
    with pytest.raises(
        BoxError, match=r"expected a box that runs no code in the explainer's file, got 'py:.*: name it as aux="
    ):
        PTame(file)(toy.load("colour"), RED, 0)
    with pytest.raises(BoxError, match="expected a box that runs no code"):
        export_onnx("toy:colour", load(file), tmp_path / "both.onnx")
    assert not (tmp_path / "ran").exists()
    assert PTame(file, aux=evil)(toy.load("colour"), RED, 0).shape == (32, 32)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "spec", ["torch:{0}", "keras:{0}", "estimator:{0}", "trained:{0}?of=py:{0}", "timm:a?weights=py:{0}"]
)
def test_nor_does_one_that_names_it_in_another_way(spec: str, tmp_path: Path) -> None:
    """Pickles, archives of torch and folders may run code, and so may what an option names."""
    with pytest.raises(BoxError, match="expected a box that runs no code"):
        PTame(make_explainer(spec.format("/x/evil.py:make"), tmp_path))(toy.load("colour"), RED, 0)


def test_a_record_that_names_code_does_not_run_it(evil: str, tmp_path: Path) -> None:
    """Neither through an explainer, nor through any setting of its method."""
    box, why = toy.load("colour"), salience.explain("toy:colour", RED, "occlusion", window=16, stride=16)
    told = {"p-tame": {"explainer": make_explainer(evil, tmp_path)}, "iassa": {"features": evil, "variant": "intent"}}
    for method, settings in told.items():
        file = replace(why, method=method, settings=settings).save(tmp_path / "r.salience")
        with pytest.raises(BoxError, match="expected a box that runs no code"):
            measure(box, Explanation.load(file), ["randomisation/logit"])
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_names_code_does_not_run_it(evil: str, tmp_path: Path) -> None:
    """`trained:FOLDER` runs it on a person's word alone."""
    (tmp_path / "box.json").write_text(json.dumps({"of": evil, "name": "x", "fingerprint": "0"}), encoding="utf-8")
    with pytest.raises(BoxError, match=r"got 'py:.*: name it as \?of=py"):
        specs.open_box(f"trained:{tmp_path}")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(SalienceError, match="expected weights"):
        specs.open_box(f"trained:{tmp_path}", of=evil)
    assert (tmp_path / "ran").exists()


GRIDS = (
    'boxes.x = "py:os:getcwd"',
    'boxes.x = "toy:colour"\nmethods.iassa = {features = "py:os:getcwd"}',
    'boxes.x = {spec = "toy:colour", of = "py:os:getcwd"}',
    'boxes.x = "toy:colour"\nmeasures = ["randomisation/labels?other=py%3Aos%3Agetcwd"]',
)


@pytest.mark.parametrize("lines", GRIDS)
def test_a_grid_that_names_code_is_not_run_without_trust(lines: str, tmp_path: Path) -> None:
    """Grids are passed on like data; whoever trusts one says so."""
    file = tmp_path / "g.toml"
    file.write_text(f'{lines}\nmethods.rise = {{}}\ndata.a = "shapes:plain"', encoding="utf-8")
    with pytest.raises(BoxError, match="expected a box that runs no code in .*g.toml.*trust"):
        grids.read_grid(file)
    assert grids.read_grid(file, trust=True).boxes


def test_a_pickle_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of weights holds arrays; what torch would unpickle further is not."""

    class Evil:
        def __reduce__(self) -> Any:
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(BoxError, match="got something else"):
        read_weights(nn.Linear(1, 1), str(tmp_path / "evil.pt"))
    with pytest.raises(BoxError, match="a pickle of a whole module, which runs code as it is read"):
        specs.open_box(f"torch:{tmp_path / 'evil.pt'}?size=8")
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(list_models=lambda: ["a"]))  # it takes seconds to import
    with pytest.raises(SalienceError, match="checkpoint_path: it may run code"):
        specs.open_box(f"timm:a?weights=none&checkpoint_path={tmp_path / 'evil.pt'}")
    assert not (tmp_path / "ran").exists()


def test_code_of_the_hub_is_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that brings its own code is refused, and nobody is asked."""
    asked = list[Any]()

    def refuse(_name: str, **given: Any) -> nn.Module:
        asked.append(given["trust_remote_code"])
        raise ValueError("it brings code")

    model = SimpleNamespace(from_pretrained=refuse)
    library = SimpleNamespace(AutoConfig=model, AutoModelForImageClassification=model, AutoImageProcessor=model)
    monkeypatch.setitem(sys.modules, "transformers", library)  # the library itself takes seconds to import
    with pytest.raises(BoxError, match="it brings code"):
        specs.open_box("hf:somebody/something")
    with pytest.raises(BoxError, match="it brings code"):
        hf.load_preparation("somebody/something")
    assert asked == [False, False]
