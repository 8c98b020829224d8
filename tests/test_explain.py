"""The library in three verbs, and the record of an explanation."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil
from safetensors.torch import save_file
from torch import Tensor, nn

import salience
from salience import registry
from salience.boxes import toy
from salience.boxes.torch import TorchBox
from salience.engine.query.run import Run, current
from salience.errors import BoxError, BudgetError, RecordError, SettingError, UnknownName
from salience.explanation import Explanation
from salience.files import write_whole
from salience.methods.occlusion import Occlusion
from salience.methods.rise import Rise
from salience.tasks import patience
from salience.types import OpenBox
from tests import trained
from tests.helpers import Asked, apart, brightness

QUICK = {"masks": 200, "cells": 5}


def why(box: Any = "toy:colour", image: Any = None, method: Any = "rise", **more: Any) -> Any:
    """Explain a toy quickly."""
    settings = QUICK if method == "rise" else {}
    return salience.explain(box, toy.picture() if image is None else image, method, **(settings | more))


def alike(one: Any, other: Any) -> bool:
    """Compare values, tensors bit for bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def test_a_users_own_network_is_explained_in_three_lines() -> None:
    """A module and the size of its images are enough; classes are numbered."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    box = salience.load(net, size=32)
    found = salience.explain(box, toy.picture(), "rise", masks=50)
    assert found.saliency.shape == (32, 32)
    assert found.target.name == f"class {found.target.index}"
    assert found.passes == 50


@dataclass(frozen=True)
class Both:
    """A method of one's own that asks for an open box and makes passes."""

    def __call__(self, box: OpenBox, image: Tensor, target: Any) -> Tensor:
        """Give RISE's map."""
        return Rise(masks=20, cells=3)(box, image, target)


def test_who_reads_gradients_alone_does_not_wait_for_a_backend() -> None:
    """Whoever makes passes too does, and the record names the backend that they were made in."""
    box = toy.load("colour", backend="auto")
    box.choose_backend = lambda images, anew: box.__dict__.update(backend_chosen=True, backend="torch channels-last")
    assert (why(box, method="grad-cam").box["backend"], box.backend_chosen) == ("exact", False)
    assert why(box, method=Both()).box["backend"] == "torch channels-last"


def test_the_record_says_what_was_explained_and_how() -> None:
    """Target, the likeliest classes, settings, cost, box and versions."""
    found = why(target="green", seed=3)
    assert (found.target.index, found.target.name) == (1, "green")
    assert [each.name for each in found.top5][0] == "red"
    assert found.target.probability == pytest.approx(float(toy.load("colour")(toy.picture()[None])[0, 1]))
    assert (found.method, found.seed, found.passes, found.budget) == ("rise", 3, 200, "no limit")
    assert found.settings == {**registry.make_method("rise").__dict__, **QUICK, "seed": 3}
    assert found.box["fingerprint"] == toy.load("colour").fingerprint
    assert found.box["access"] == "open"
    assert found.versions["torch"] == torch.__version__.partition("+")[0] or found.versions["torch"] == torch.__version__


def test_the_map_is_the_methods_own() -> None:
    """`explain` adds words to a map and changes nothing."""
    assert torch.equal(why(batch=50).saliency, why(method=Rise(**QUICK), batch=50).saliency)
    assert why(method=Occlusion(8, 4), target=2).settings["window"] == 8


def test_settings_and_seed_change_a_method_object() -> None:
    """An object given is copied with the changes."""
    method = Rise(**QUICK)
    found = salience.explain("toy:colour", toy.picture(), method, seed=9, keep=0.4)
    assert (found.settings["seed"], found.settings["keep"], found.settings["cells"]) == (9, 0.4, 5)
    assert method == Rise(**QUICK)


def test_many_pictures_give_a_list_in_their_order() -> None:
    """A list, or a batch tensor; one target for all or one for each."""
    pictures = [toy.picture(colour=each) for each in (2, 0)]
    for given in (pictures, torch.stack(pictures), tuple(pictures)):
        assert [each.target.name for each in why(image=given)] == ["blue", "red"]
    assert [each.target.name for each in why(image=pictures, target=["red", 2])] == ["red", "blue"]
    assert [each.target.name for each in why(image=pictures, target=("red", "blue"))] == ["red − blue"] * 2
    assert why(image=[]) == []
    with pytest.raises(SettingError, match="expected one target for each of 2 pictures, got 1"):
        why(image=pictures, target=["red"])


def test_a_picture_is_whatever_people_call_one(tmp_path: Path) -> None:
    """A path, bytes, a PIL image, an array and a tensor of one picture give one map."""
    pixels = (toy.picture().permute(1, 2, 0) * 255).round().byte().numpy()
    image = pil.fromarray(pixels)
    image.save(tmp_path / "a.png")
    forms = [tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), image, pixels]
    found = [
        why(image=each, batch=50).saliency for each in [*forms, torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)]
    ]
    assert all(torch.equal(found[0], each) for each in found[1:])


def test_the_budget_is_kept_and_the_prediction_is_free() -> None:
    """Passes of the method are counted, the one that names the target is not."""
    assert salience.explain("toy:colour", toy.picture(), "rise", budget=123).passes == 123
    found = salience.explain("toy:colour", toy.picture(), "occlusion", window=8, stride=8, budget="17 passes")
    assert (found.passes, found.budget) == (17, "17 passes")
    with pytest.raises(BudgetError, match="at least 17 passes for occlusion"):
        salience.explain("toy:colour", toy.picture(), "occlusion", window=8, stride=8, budget=16)


def test_a_budget_of_seconds_ends_in_time() -> None:
    """Masks are drawn as long as there is time."""
    found = salience.explain("toy:colour", toy.picture(), "rise", budget="0.3s")
    assert found.passes > 100
    assert found.seconds < 2


def test_without_a_budget_sampling_ends_after_ten_seconds_and_says_what_more_would_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of ten seconds a tenth here. The first masks are always made, and whoever says how many gets them all."""
    monkeypatch.setattr(patience, "SECONDS", 0.1)
    box = toy.load("colour", backend="exact")
    monkeypatch.setattr(
        toy.Colour, "forward", lambda self, images, run=toy.Colour.forward: time.sleep(0.02) or run(self, images)
    )
    found = salience.explain(box, toy.picture(), "rise", batch=16)
    assert 16 <= found.passes < 1000
    assert re.fullmatch(r"\ds", found.budget)
    (note,) = found.notes
    assert re.fullmatch(
        rf"stopped after \d s with {found.passes} of 4,000 passes.*: a budget of \d+s would make them all.*", note
    )
    monkeypatch.setattr(patience, "SECONDS", 1e-6)
    assert salience.explain(box, toy.picture(), "occlusion", window=8, stride=8).passes >= 17
    whole = salience.explain(box, toy.picture(), "rise", masks=128, batch=16)
    assert (whole.passes, whole.notes, whole.budget) == (128, (), "no limit")


def test_the_stability_to_come_is_that_of_a_longer_test() -> None:
    """Twice the passes make halves that agree in 0.5 agree in 2 · 0.5 / 1.5."""
    run = Run(expected=200, started=time.monotonic() - 10)
    run.passes = 100
    words = patience.describe_stop(run, 0.5)
    assert words.startswith("stopped after 10 s with 100 of 200 passes, stability 0.50: a budget of 21s ")
    assert words.endswith("would make them all (stability about 0.67)")
    run.expected = None
    assert patience.describe_stop(run, None).endswith("with 100 passes: a budget of 31s would make three times as many")


def test_watching_shows_the_map_growing_and_may_stop() -> None:
    """Passes grow from step to step, and nothing is left behind by whoever leaves early."""
    steps = salience.watch("toy:colour", toy.picture(), "rise", masks=2000, batch=64)
    first, second = next(steps), next(steps)
    assert first.passes == 256
    assert second.passes == 512
    assert current.get() is None
    steps.close()
    *_, last = salience.watch("toy:colour", toy.picture(), "rise", batch=64, **QUICK)
    assert torch.equal(last.saliency, why(batch=64).saliency)


def test_progress_is_told() -> None:
    """How many passes, and of how many."""
    told: list[tuple[int, int | None]] = []
    why(progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (200, 200)


@pytest.mark.parametrize("method", [name for name in registry.list_names("methods") if not name.startswith("attention")])
def test_a_record_loads_again_bit_for_bit(method: str, tmp_path: Path) -> None:
    """Arrays, words and the picture itself."""
    settings = {"explainer": trained.file()} if method == "p-tame" else {}
    found = salience.explain("toy:colour", toy.picture(64), method, budget=300, **settings)
    loaded = Explanation.load(found.save(tmp_path / "a.salience"))
    for each in fields(Explanation):
        ours, theirs = (getattr(why, "encoded" if each.name == "source" else each.name) for why in (found, loaded))
        assert alike(ours, theirs), each.name
    assert torch.equal(loaded.picture.exact, found.picture.exact)
    assert loaded.picture.pixels.tobytes() == found.picture.pixels.tobytes()
    assert json.loads(json.dumps(found.summary())) == json.loads(json.dumps(loaded.summary()))


def test_a_record_without_an_error_map_loads_too(tmp_path: Path) -> None:
    """Not every method has one."""
    found = why(method=Occlusion(8, 4))
    assert found.error is None
    assert Explanation.load(found.save(tmp_path / "a.salience")).error is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_record_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    """Half a record is no record."""
    whole = why().save(tmp_path / "a.salience").read_bytes()
    (tmp_path / "b.salience").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RecordError, match="expected an explanation in .*b.salience, got something else"):
        Explanation.load(tmp_path / "b.salience")


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    """Nothing there, a text, weights of a network, a record of tomorrow."""
    with pytest.raises(RecordError, match="got nothing there: check the path"):
        Explanation.load(tmp_path / "none.salience")
    (tmp_path / "text").write_text("hello")
    save_file({"weight": torch.ones(2)}, tmp_path / "weights")
    save_file({"weight": torch.ones(2)}, tmp_path / "empty", {"salience": "{}"})
    for name in ("text", "weights", "empty"):
        with pytest.raises(RecordError, match="got something else"):
            Explanation.load(tmp_path / name)
    save_file({"weight": torch.ones(2)}, tmp_path / "new", {"salience": json.dumps({"format": 99})})
    with pytest.raises(RecordError, match="of format 1 in .*new, got 99: update salience"):
        Explanation.load(tmp_path / "new")


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure leaves the old file, and no half of a new one."""
    with pytest.raises(RecordError, match="expected to write .* got No such file or directory"):
        why().save(tmp_path / "no" / "a.salience")
    write_whole(tmp_path / "a.salience", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RecordError, match="No space left"):
        write_whole(tmp_path / "a.salience", b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.salience"]
    assert (tmp_path / "a.salience").read_bytes() == b"old"


def test_it_is_short_in_print_and_a_picture_in_a_notebook() -> None:
    """The repr is one line; notebooks ask for PNG bytes."""
    found = why()
    assert repr(found).startswith("<rise of 'red' (")
    assert "200 passes" in repr(found)
    assert len(repr(found)) < 120
    with pil.open(io.BytesIO(found._repr_png_())) as shown:
        assert shown.format == "PNG"
        assert min(shown.size) > 32


def test_a_blank_map_is_said_in_words() -> None:
    """A box that looks at nothing gives a map with a note."""
    found = why("toy:constant", method=Occlusion(8, 4), target=0)
    assert any("constant" in note for note in found.notes)
    assert why().notes == ()


def test_a_map_is_put_back_onto_the_photograph() -> None:
    """Its rows and columns are the photograph's, NaN where the box did not look."""
    image = torch.full((3, 48, 96), 0.4)
    image[:, 20:28, 40:52] = torch.tensor([1.0, 0, 0])[:, None, None]
    found = why(salience.load(toy.Colour(), size=32, resize=32, classes=["red", "green", "blue"]), image)
    back = found.at_photograph
    assert back.shape == (48, 96)
    assert torch.isnan(back[:, :23]).all()
    assert bool(torch.isfinite(back[:, 25:71]).all())
    peak = divmod(int(torch.nan_to_num(back, -1.0).argmax()), 96)
    assert 16 <= peak[0] < 32
    assert 36 <= peak[1] < 56


def test_a_black_box_is_explained_by_what_needs_no_more() -> None:
    """Anything with the few attributes of `BlackBox` is a box."""
    assert why(Asked(brightness, side=32)).box["access"] == "black"


def test_wrong_names_offer_close_ones() -> None:
    """Of methods, settings, kinds of boxes and files."""
    for given, text in (
        ({"method": "risee"}, "expected the name of a method, got 'risee': did you mean rise"),
        ({"mask": 5}, "expected the name of a setting of rise, got 'mask': did you mean masks"),
        ({"box": "tim:resnet18"}, "got 'tim': did you mean timm"),
        ({"box": "nothing"}, "expected the name of a box kind"),
    ):
        with pytest.raises(UnknownName, match=text):
            why(**given)
    with pytest.raises(SettingError, match="expected no options for a box that is made already, got size"):
        salience.load(toy.load("colour"), size=3)
    with pytest.raises(BoxError, match="expected the size of the images that this network takes"):
        salience.load(nn.Linear(2, 2))
    with pytest.raises(BoxError, match=r"expected a box \(a spec, a torch module or a function\), got int"):
        salience.load(5)


@pytest.mark.parametrize("method", ["grad-cam", "sise", "rise", "score-cam"])
def test_several_targets_of_one_picture_share_what_passes_they_can(colour: TorchBox, method: str) -> None:
    """Each map is what it is alone, the box is asked less, and the record counts what the map rests on."""
    calls: list[int] = []
    settings = {"masks": 64} if method == "rise" else {}
    alone = [salience.explain(colour, toy.picture(), method, target=target, **settings) for target in ("red", "blue")]
    handle = colour.module.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    both = salience.explain(colour, toy.picture(), method, target=["red", "blue"], **settings)
    handle.remove()
    assert [why.target.name for why in both] == ["red", "blue"]
    assert all(apart(one.saliency, other.saliency) < 1e-5 for one, other in zip(both, alone, strict=True))
    assert [why.passes for why in both] == [why.passes for why in alone]
    assert sum(calls) < 2 + sum(why.passes for why in alone)


def test_many_pictures_are_explained_together_where_the_method_can(colour: TorchBox) -> None:
    """A Grad-CAM of 40 pictures runs the box in lots of four: for the classes, and for the gradients."""
    calls: list[int] = []
    shown = torch.stack([toy.picture(32, k % 3, top=k % 20) for k in range(40)])
    alone = [salience.explain(colour, image, "grad-cam") for image in shown]
    handle = colour.module.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    together = salience.explain(colour, shown, "grad-cam")
    handle.remove()
    assert len(calls) <= 20
    for one, other in zip(together, alone, strict=True):
        assert (one.target, one.passes, one.image) == (other.target, other.passes, other.image)
        assert apart(one.saliency, other.saliency) < 1e-5


def test_the_record_names_the_layers_that_a_map_was_made_from(colour: TorchBox) -> None:
    """Also after it was saved, and in what `--json` prints; none where scores were enough."""
    for method, layers in (("grad-cam", ("act",)), ("sise", ("act",)), ("rise", ())):
        why = salience.explain(colour, toy.picture(), method, **({"masks": 8} if method == "rise" else {}))
        assert why.layers == layers
        assert why.summary()["layers"] == list(layers)


def test_a_batch_that_was_asked_for_is_kept_to() -> None:
    """Then each picture is explained for itself, and so where seconds bound each."""
    for given in ({"batch": 8}, {"budget": "5s"}):
        box = Asked(brightness)
        salience.explain(box, [torch.rand(3, 8, 8) for _ in range(3)], "rise", masks=64, target=1, **given)
        assert max(box.batches[:3]) <= 8


def test_one_picture_that_fails_fails_the_list() -> None:
    """As it does alone; the others are not waited for."""

    def dark(images: Tensor) -> Tensor:
        return brightness(images) / (images.flatten(1).mean(1) > 0.01)[:, None]

    with pytest.raises(BoxError, match="finite"):
        salience.explain(
            Asked(dark), [torch.full((3, 8, 8), each) for each in (0.5, 0.02, 0.9)], "rise", masks=64, fill="black", target=1
        )
