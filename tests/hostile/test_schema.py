"""Headers are checked once, when a file is opened; what was damaged is found; settings are what their types say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

import salience
from salience import registry
from salience.boxes import toy
from salience.engine.training import explainer
from salience.errors import RecordError, SettingError
from salience.explanation import Explanation
from tests import trained


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an explanation that is as it should be."""
    why = salience.explain("toy:colour", toy.picture(32), "occlusion", window=16, stride=16)
    return why.save(tmp_path_factory.mktemp("record") / "a.salience")


def read_header(content: bytes) -> Any:
    """Read the header of a file of ours."""
    return json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["salience"])


def test_a_flipped_bit_anywhere_is_found(record: Path, tmp_path: Path) -> None:
    """In the header, the map, the photograph or the weights: another map was shown before."""
    for good, open_file in ((record, Explanation.load), (Path(trained.file()), explainer.load)):
        content = good.read_bytes()
        head = 8 + int.from_bytes(content[:8], "little")
        for at in (*range(head, len(content), len(content) // 40), len(content) - 1):
            damaged = bytearray(content)
            damaged[at] ^= 4
            (tmp_path / f"{at}{good.suffix}").write_bytes(damaged)
            with pytest.raises(RecordError, match="other content than was written"):
                open_file(tmp_path / f"{at}{good.suffix}")


def test_a_file_of_before_has_no_digest_and_opens(record: Path, tmp_path: Path) -> None:
    """It is checked by its header alone."""
    content = record.read_bytes()
    (tmp_path / "old.salience").write_bytes(save(load(content), {"salience": json.dumps(read_header(content))}))
    assert torch.equal(Explanation.load(tmp_path / "old.salience").saliency, Explanation.load(record).saliency)


ODD: tuple[tuple[str, Any], ...] = (
    ("box", {"name": "a"}),
    ("evidence", {"layers": 3}),
    ("evidence", {"blocks": [{}]}),
    ("evidence", {"mask": 1}),
    ("bands", {"everywhere": {"drops": [0.1]}, "high": {"drops": [0.1, 0.2]}, "area": 0.1, "passes": 2}),
    ("versions", ["torch"]),
    ("seed", 2**70),
    ("prepared", {"values": [1]}),
    ("target", {"index": "0", "name": "red", "probability": 0.5}),
    ("settings", {"variant": ["x"]}),
)


@pytest.mark.parametrize(("key", "value"), ODD)
def test_a_header_of_another_sense_is_refused_when_it_is_opened(key: str, value: Any, record: Path, tmp_path: Path) -> None:
    """Not later, when it is drawn, measured, printed or saved."""
    content = record.read_bytes()
    (tmp_path / "odd.salience").write_bytes(
        save(load(content), {"salience": json.dumps(read_header(content) | {key: value})})
    )
    with pytest.raises(RecordError, match="expected an explanation in .*, got something else"):
        Explanation.load(tmp_path / "odd.salience")


@pytest.mark.parametrize(
    "given", [{"masks": "64"}, {"masks": 64.5}, {"masks": True}, {"keep": "0.5"}, {"cells": None}, {"seed": [1]}]
)
def test_settings_are_read_by_their_types(given: dict[str, Any]) -> None:
    """A text is no number, 64.5 and true are no counts."""
    with pytest.raises(SettingError, match="expected .* for .*, got"):
        registry.make_method("rise", **given)
