"""P-TAME's step against plain loops, and what a training brings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from salience import specs
from salience.boxes import toy
from salience.engine import seeding
from salience.engine.perturb import masks
from salience.engine.training.loop import Loop
from salience.engine.training.sample_order import OrderedSample
from salience.errors import BoxError, DataError, RecordError, SettingError, TargetError
from salience.methods.p_tame import PTame as Method
from salience.trainers._p_tame.learner import Learner, masked_gradient
from salience.trainers._p_tame.search import sample_weights
from salience.trainers.p_tame import PTame
from tests.helpers import Asked, apart, brightness, curved, noise

TINY = {"aux": "toy:colour", "held": 4, "rate": 0.02}
SHORT = Loop(steps=40, batch=12, save=20, check=0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep explainers away from the user's."""
    monkeypatch.setenv("SALIENCE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def scenes(count: int = 48, side: int = 32) -> Tensor:
    """Draw patches of three colours at random places."""
    places = torch.randint(0, side - 8, (count, 2), generator=seeding.generator(0, "scenes")).tolist()
    return torch.stack([toy.picture(side, number % 3, *place) for number, place in enumerate(places)])


def learner(box: Any, **settings: Any) -> Learner:
    """Make the step without a training around it."""
    made = object.__new__(Learner)
    made.how, made.box, made.loop = PTame(**settings), box, Loop()
    return made


def test_the_slope_of_a_step_is_that_of_the_whole_loss() -> None:
    """The box is differentiated apart, to its input; the chain rule puts both parts together. In double precision."""
    box, images = curved(8), noise(3, 3, 8, 8)
    targets, place = [2, 0, 2], torch.tensor([1, 0, 1])  # the batch has two classes, 0 and 2
    raw = (noise(3, 2, 4, 4, seed=3) * 4 - 2).requires_grad_()
    step = learner(box, ce=0.4, area=0.5, fill="mean")
    loss, row = step.by_gradient(raw, images, targets, place)
    (ours,) = torch.autograd.grad(loss, raw)

    soft, terms = raw.sigmoid(), []
    for i in range(3):
        mask = functional.interpolate(soft[i, place[i]][None, None], size=(8, 8), mode="bilinear", align_corners=False)
        seen = box.logits(box_mean(box, images[i]) + mask[0] * (images[i] - box_mean(box, images[i]))[None])
        terms.append(-seen.log_softmax(1)[0, targets[i]])
    every = torch.stack([torch.stack([soft[i, place[j]] for j in range(3)]) for i in range(3)])
    area = sum((value + 0.0005) ** 0.3 for value in every.flatten()) / every.numel()
    steps = (every[:, :, 1:] - every[:, :, :-1]).square().sum() + (every[..., 1:] - every[..., :-1]).square().sum()
    edges = sum(every[..., at, :].square().sum() + every[..., :, at].square().sum() for at in (0, 3))
    whole = 0.4 * sum(terms) / 3 + 0.5 * area + 0.1 * (steps + 0.3 * edges) / (2 * 3)
    assert row["loss"] == pytest.approx(float(whole.detach()), abs=1e-12)
    assert apart(ours, torch.autograd.grad(whole, raw)[0]) < 1e-12


def box_mean(box: Any, image: Tensor) -> Tensor:
    """Return the mean colour as an image."""
    return image.new_tensor(box.mean)[:, None, None].expand_as(image)


def test_what_queries_tell_is_the_covariance_of_mask_and_score() -> None:
    """Σ (m − m̄)(y − ȳ) / (K − 1), over 1/40, with masks that are addressed by the picture's place in the training."""
    box, image = Asked(brightness), noise(3, 8, 8, dtype=torch.float32)
    told = learner(box, masks=5, cells=3, route="queries").query_maps(image, [1, 0], (8, 8), OrderedSample(7, 0))

    lots = masks.sample_grids(40, (8, 8), 3, 0.5, 0, start=35)
    drawn = torch.cat([lot.rasterise(image) for lot in lots])
    scores = [float((image * mask).mean()) for mask in drawn]
    for y in range(8):
        for x in range(8):
            shown = [float(mask[y, x]) for mask in drawn]
            pairs = [(m - sum(shown) / 5) * (s - sum(scores) / 5) for m, s in zip(shown, scores, strict=True)]
            assert float(told[0, y, x]) == pytest.approx(40 * sum(pairs) / 4, abs=1e-5)
    assert apart(told[1], -told[0]) < 1e-5


@pytest.mark.parametrize(("route", "steps"), [("gradient", 40), pytest.param("queries", 30, marks=pytest.mark.slow)])
def test_a_training_finds_the_planted_colour(route: str, steps: int, tmp_path: Path) -> None:
    """Chance is 0.06 of the highest 64 pixels; the explainer is then found by its box, with no further setting."""
    box, aux = toy.load("colour"), f"py:{Path(__file__)}:features"
    loop = replace(SHORT, steps=steps)
    Method().fit(box, scenes(), out=str(tmp_path), loop=loop, route=route, **TINY | {"aux": aux})
    for colour in (0, 1, 2):
        found = Method()(box, toy.picture(32, colour), colour)
        where = torch.zeros(32, 32, dtype=torch.bool)
        where.view(-1)[found.flatten().topk(64).indices] = True
        assert float(where[6:14, 14:22].float().mean()) >= 0.5
    if route == "queries":  # its raw maps are covariances, no masks
        with pytest.raises(SettingError, match="expected values min-max for an explainer fitted by queries"):
            Method(values="sigmoid")(box, toy.picture(32), 0)


def features() -> Any:
    """Make a network with features enough: how near each place is to each of eight colours."""

    class Near(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(3, 8, 1, bias=True)
            self.act = nn.ReLU()
            corners = torch.tensor([[float(number >> bit & 1) for bit in range(3)] for number in range(8)])
            with torch.no_grad():
                self.mix.weight.copy_((2 * corners - 1)[:, :, None, None])
                self.mix.bias.copy_(0.2 - corners.sum(1) * 0.5)

        def forward(self, images: Tensor) -> Tensor:
            return self.act(self.mix(images)).mean((2, 3))

    return specs.open_box(Near(), size=32, backend="exact")


@pytest.mark.slow
@pytest.mark.parametrize("route", ["gradient", pytest.param("queries", marks=pytest.mark.slow)])
def test_a_training_that_was_stopped_goes_on_exactly(route: str, tmp_path: Path) -> None:
    """The same figures at every step and the same weights at the end, as if nothing had happened."""
    how, loop = PTame(route=route, **TINY), replace(SHORT, steps=9, save=4, check=9)

    def stop(step: int, _steps: int, _row: dict[str, float]) -> None:
        if step == 7:
            raise KeyboardInterrupt

    whole = how.fit(toy.load("colour"), scenes(), out=tmp_path / "whole", loop=loop)
    with pytest.raises(KeyboardInterrupt):
        how.fit(toy.load("colour"), scenes(), out=tmp_path / "cut", loop=loop, tell=stop)
    again = how.fit(toy.load("colour"), scenes(), out=tmp_path / "cut", loop=loop)
    for one, other in zip(whole.history, again.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    weights = (each.explainer.network.state_dict().values() for each in (whole, again))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_a_run_goes_on_in_the_backend_that_it_began_in(tmp_path: Path) -> None:
    """Another may be quicker on another day, and its scores differ in the last digits."""
    loop = replace(SHORT, steps=2)
    PTame(**TINY).fit(toy.load("colour"), scenes(), out=tmp_path, loop=loop)
    file = tmp_path / "run.json"
    file.write_text(file.read_text().replace('"backend": "exact"', '"backend": "torch channels-last"'))
    box = toy.load("colour", backend="auto")
    PTame(**TINY).fit(box, scenes(), out=tmp_path, loop=loop)
    assert box.backend == "torch channels-last"


def test_a_mask_that_hides_nothing_leaves_the_box_its_answer() -> None:
    """Its cross-entropy is then that of the clean picture, whatever the fill."""
    box, images = curved(8), noise(2, 3, 8, 8)
    seen, _ = masked_gradient(box, images, torch.ones(2, 8, 8, dtype=torch.float64), [1, 2], "noise")
    assert seen == pytest.approx(float(functional.cross_entropy(box.logits(images), torch.tensor([1, 2])).detach()))


class ByCode(nn.Module):
    """Go by the colour of the corner, where the class after is shown, or by the rest of the picture."""

    def __init__(self, corner: bool) -> None:
        super().__init__()
        self.corner, self.detect = corner, toy.Colour()

    def forward(self, images: Tensor) -> Tensor:
        if self.corner:
            return self.detect(images[:, :, :8, :8]).roll(-1, dims=1)
        return self.detect(images[:, :, 8:])


@pytest.mark.slow
@pytest.mark.parametrize("corner", [True, False])
def test_the_map_shows_what_the_box_goes_by_and_not_what_is_in_the_picture(corner: bool, tmp_path: Path) -> None:
    """A shortcut in the corner and an object below it say the same class: only one of them is the box's reason."""
    shown = torch.stack([toy.picture(32, number % 3, 10 + number % 12, number % 23) for number in range(48)])
    for number, image in enumerate(shown):
        image[:, :6, :6] = torch.eye(3)[(number + 1) % 3][:, None, None]
    box, aux = specs.open_box(ByCode(corner), size=32, backend="exact"), f"py:{Path(__file__)}:features"
    settings = TINY | {"aux": aux, "mirror": False, "route": "queries"}
    method = Method().fit(box, shown, out=str(tmp_path), loop=replace(SHORT, steps=30), **settings)
    for number in range(3):
        found = method(box, shown[number], number)
        assert bool(found[:6, :6].mean() > found[10 + number : 18 + number, number : number + 8].mean()) is corner


def test_a_class_that_was_not_learnt_is_one_sentence(tmp_path: Path) -> None:
    """The fuser has rows for the chosen classes only; pictures of the others are left out."""
    box = toy.load("colour")
    fitted = PTame(classes=("red", "2"), **TINY).fit(box, scenes(), out=tmp_path, loop=replace(SHORT, steps=2))
    assert fitted.explainer.about.names == ("red", "blue")
    assert fitted.explainer.about.trained["pictures"] == 32 - 4
    with pytest.raises(TargetError, match=r"expected a class that the explainer was fitted for \(red, blue\), got green"):
        Method()(box, toy.picture(32), 1)


def test_no_gradient_and_no_hook_stays_on_box_and_features(tmp_path: Path) -> None:
    """Weights, running means, modes and gradients of both are as before, and so is the process's random state."""
    net, aux = toy.Colour().train(), toy.Colour().train()
    box, state = specs.open_box(net, size=32, classes=["r", "g", "b"]), torch.get_rng_state()
    fitted = PTame(**TINY | {"aux": specs.open_box(aux, size=32)}).fit(box, scenes(), out=tmp_path, loop=SHORT)
    assert torch.equal(torch.get_rng_state(), state)
    for module in (net, aux):
        assert all(each.grad is None and each.requires_grad for each in module.parameters())
        assert all(each.training and not each._forward_hooks for each in module.modules())
        assert torch.equal(module.detect.weight, toy.Colour().detect.weight)
    assert fitted.explainer.about.source["spec"].startswith("object:")
    Method()(box, toy.picture(32), 0)  # in this process the network that was given is still at hand


def test_own_features_are_those_of_the_box(tmp_path: Path) -> None:
    """With aux "box" nothing but the box is opened, as in L-CAM and T-TAME, and a black box has no features."""
    box = toy.load("colour")
    fitted = PTame(**TINY | {"aux": "box"}).fit(box, scenes(), out=tmp_path, loop=replace(SHORT, steps=2))
    assert fitted.explainer.about.source["fingerprint"] == box.fingerprint
    how, black = PTame(aux="box", route="queries", held=0), Asked(brightness, 32)
    with pytest.raises(BoxError, match="expected a network whose layers can be read as aux, got asked: name another"):
        how.fit(black, scenes(), out=tmp_path / "black", loop=SHORT)


def test_a_run_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    """Half of one training and half of another would be neither."""
    PTame(**TINY).fit(toy.load("colour"), scenes(), out=tmp_path, loop=replace(SHORT, steps=2))
    with pytest.raises(RecordError, match="expected the run that began in"):
        PTame(**TINY, ce=0.5, area=0.5).fit(toy.load("colour"), scenes(), out=tmp_path, loop=replace(SHORT, steps=2))


@pytest.mark.slow
def test_a_search_takes_the_weights_with_the_best_road(tmp_path: Path) -> None:
    """The given weights are the first trial, so a search never does worse on the pictures it looks at."""
    how = PTame(search=2, **TINY)
    fitted = how.fit(toy.load("colour"), scenes(), out=tmp_path, loop=replace(SHORT, steps=4, check=4))
    files = [tmp_path / f"trial-{trial}" / "history.jsonl" for trial in range(3)]
    roads = [json.loads(file.read_text().splitlines()[-1])["road"] for file in files]
    assert fitted.history[-1]["road"] == max(roads)
    trial = sample_weights(how, 0, 1)
    assert 0.85 <= trial.ce + trial.area <= 1
    assert trial == sample_weights(how, 0, 1) != sample_weights(how, 0, 2)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "route": ({"route": "both"}, "expected route gradient or queries, got 'both'"),
    "weights": ({"ce": 0.6, "area": 0.6}, r"expected ce \+ area of at most 1, got 1.2: the rest is for smoothness"),
    "search": ({"search": 2, "held": 0}, "expected route gradient and held-out pictures for a search"),
    "masks": ({"masks": 1}, "expected 2 ≤ masks, got 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_one_sentence(name: str) -> None:
    """Before a pass is spent."""
    with pytest.raises(SettingError, match=WRONG[name][1]):
        PTame(**WRONG[name][0])


def test_a_black_box_has_no_route_of_gradients(tmp_path: Path) -> None:
    """The error says which route it has."""
    with pytest.raises(BoxError, match="expected a box with gradients for route gradient, got asked: use route queries"):
        PTame().fit(Asked(brightness, 32), scenes(), out=tmp_path)


def test_too_few_pictures_are_one_sentence(tmp_path: Path) -> None:
    """A class needs five, and some must be left beside those that are held out."""
    with pytest.raises(DataError, match="expected 5 pictures of a class or more, got at most 2: give more, or name classes"):
        PTame(**TINY).fit(toy.load("colour"), scenes(5), out=tmp_path / "a")
    with pytest.raises(DataError, match="expected more pictures than the 40 held out, got 18: give more, or held=0"):
        PTame(**TINY | {"held": 40}).fit(toy.load("colour"), scenes(18), out=tmp_path / "b")


def test_features_of_a_picture_are_read_once() -> None:
    """And once for its mirror image, whatever is asked beside it; without room for them, each time, and alike."""
    from salience.engine.training.features import CachedFeatures, FeatureSource

    aux: Any = specs.open_box("toy:colour")
    passes = 0

    def count(_module: Any, given: Any) -> None:
        nonlocal passes
        passes += len(given[0])

    aux.module.register_forward_pre_hook(count)
    features = FeatureSource.of(aux)
    before, images = passes, scenes(4)
    wide, narrow = CachedFeatures(features), CachedFeatures(features, most=0)
    names = [(number, turned) for number in range(4) for turned in (False, True)]
    shown = torch.stack([images[number].flip(-1) if turned else images[number] for number, turned in names])
    first = wide(names, shown)
    again = wide(names[::-1], shown.flip(0))
    assert passes - before == 8
    assert all(torch.equal(one, two.flip(0)) for one, two in zip(first, again, strict=True))
    assert all(torch.equal(one, two) for one, two in zip(first, narrow(names, shown), strict=True))
    assert not narrow.kept
    assert all(apart(one, two) < 1e-5 for one, two in zip(first, features(shown), strict=True))
