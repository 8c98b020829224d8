"""The folder is the register."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from salience import registry, specs
from salience.errors import UnknownName
from salience.types import BlackBox, GreyBox, OpenBox


def test_names_are_the_files_of_a_folder() -> None:
    """Those with an underscore in front are not for people."""
    assert {"rise", "occlusion", "iassa"} <= set(registry.list_names("methods"))
    assert {"torch", "timm", "toy", "zoo", "py", "hf", "torchvision", "function"} <= set(registry.list_names("boxes"))
    assert not [each for folder in ("methods", "boxes") for each in registry.list_names(folder) if each.startswith("_")]


@pytest.mark.parametrize("said", ["rise", "Rise", "RISE"])
def test_a_method_is_found_however_it_is_spelt(said: str) -> None:
    """One word in three spellings."""
    assert registry.find_method(said).__name__ == "Rise"


def test_a_name_becomes_a_class_and_back() -> None:
    """`de_cam.py`, `DeCam`, `de-cam`; two pluses are written out where Python has no sign for them."""

    class GradCamPlusPlus:
        pass

    assert registry.find_name(GradCamPlusPlus) == registry.find_name(GradCamPlusPlus()) == "grad-cam++"


@pytest.mark.parametrize("protocol", [BlackBox, GreyBox, OpenBox])
def test_the_annotation_of_box_is_the_need(protocol: Any) -> None:
    """Nothing else has to be declared."""

    class Needs:
        def __call__(self, box, image, target):  # annotated in the next line
            return None

    Needs.__call__.__annotations__["box"] = protocol
    assert registry.find_need(Needs) is protocol


def test_settings_are_the_fields_with_their_comments() -> None:
    """Name, type, default, and the words behind the field in the source."""
    found = {each.name: each for each in registry.list_settings(registry.find_method("rise"))}
    assert found["keep"] == registry.Setting("keep", float, "p, the probability that a cell is kept", 0.5)
    assert registry.list_settings(int) == ()


def test_a_wrong_setting_is_named() -> None:
    """With close ones."""
    with pytest.raises(UnknownName, match="expected the name of a setting of rise, got 'cell': did you mean cells"):
        registry.make_method("rise", cell=3)


def test_other_packages_join_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method and a kind of box from elsewhere are used like our own."""

    @dataclass(frozen=True)
    class Theirs:
        """Theirs."""

        way: int = 1  # which way

    class Kind:
        @staticmethod
        def load(name: str, **options: Any) -> tuple[str, dict[str, Any]]:
            return name, options

    @dataclass
    class Point:
        name: str
        thing: Any

        def load(self) -> Any:
            return self.thing

    points = {"salience.methods": [Point("theirs", Theirs)], "salience.boxes": [Point("cloud", Kind)]}
    monkeypatch.setattr(registry, "entry_points", lambda group: points.get(group, []))
    assert "theirs" in registry.list_names("methods")
    assert registry.make_method("theirs", way=2) == Theirs(2)
    open_box = getattr(specs.open_box, "__wrapped__", specs.open_box)  # without the check of its types
    assert open_box("cloud:net?a=1&b=x", b="y") == ("net", {"a": "1", "b": "y"})
