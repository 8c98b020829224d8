"""The explainer's file, and where its features come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.engine.training import explainer
from salience.engine.training.features import FeatureSource
from salience.errors import BoxError
from tests import trained
from tests.helpers import apart, noise


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Weights and header, whole; the file knows its box."""
    made = trained.colours((0, 2))
    (tmp_path / "a.safetensors").write_bytes(made.content())
    read = explainer.load(tmp_path / "a.safetensors")
    assert read.about == made.about
    assert read.about.box["fingerprint"] == toy.load("colour").fingerprint
    features = [noise(1, 3, 4, 4, dtype=torch.float32)]
    assert torch.equal(read.network(features, torch.arange(2)), made.network(features, torch.arange(2)))


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    """A process that explains while another trains sees the new one."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(trained.colours((0, 2)).content())
    assert explainer.load(path) is explainer.load(path)
    path.write_bytes(trained.colours((0, 1, 2)).content())
    assert explainer.load(path).about.classes == (0, 1, 2)


def test_features_of_other_weights_are_refused() -> None:
    """Weights of a fuser mean nothing over other features."""
    made = trained.colours()
    changed = replace(made, about=replace(made.about, source={**made.about.source, "fingerprint": "another"}))
    with pytest.raises(BoxError, match="expected the features' network toy:colour as it was at the fit, got other weights"):
        changed.source(toy.load("colour"), specs.open_box)


def test_features_that_were_an_object_are_known_in_their_process_only() -> None:
    """The file cannot bring them along."""
    made = trained.colours()
    changed = replace(made, about=replace(made.about, source={**made.about.source, "spec": "object:gone"}))
    with pytest.raises(BoxError, match=r"got one that was given as an object .*: fit with its spec, as in py:FILE.py:NAME"):
        changed.source(toy.load("colour"), specs.open_box)


def test_a_photographs_features_begin_at_a_quarter_of_its_size() -> None:
    """One layer a resolution, the finest first; at 224 pixels the maps of 112 are left out."""
    source = FeatureSource.of(specs.open_box("default", backend="exact"))  # type: ignore[arg-type]  # a torch box
    seen = source(noise(1, 3, 100, 100, dtype=torch.float32))  # brought to 224 first
    assert [each.shape[-1] for each in seen] == [56, 28, 14, 7]


def test_a_constant_map_is_stretched_to_nothing() -> None:
    """Its range is 0, and no number may come of it."""
    both = torch.stack([torch.full((3, 3), 0.7), torch.arange(9.0).reshape(3, 3)])
    found = explainer.stretch(both)
    assert apart(found[0], torch.zeros(3, 3)) == 0
    assert (float(found[1].min()), float(found[1].max())) == (0, 1)
