"""Images of more than three bands: every method explains them, and the record says what each band is worth."""

from __future__ import annotations

import json
import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import salience
from benchmarks import bands
from salience.bands import BandShares
from salience.boxes import toy
from salience.case import Sample
from salience.cli.console import Console
from salience.cli.output import print_explanation
from salience.describe.explanation import collect_facts
from salience.draw import overlay
from salience.draw.blend import read_photograph
from salience.engine.perturb import fill, superpixels
from salience.engine.training.loop import Loop
from salience.errors import BoxError, SettingError
from salience.explanation import Explanation
from salience.methods.mc_rise import McRise, parse_colour
from salience.picture import read
from salience.tasks.measure import measure
from salience.trainers.p_tame import PTame
from salience.trainers.scaat import Scaat
from salience.types import BlackBox
from tests.test_docs import DOCS, write_blocks
from tests.test_old_files import OLD

FEW = {
    "rise": {"masks": 400},
    "lime": {"masks": 200, "regions": 30},
    "kernel-shap": {"masks": 200, "regions": 30},
    "extremal-perturbation": bands.SETTINGS["extremal-perturbation"] | {"steps": 24},
    "occlusion": bands.SETTINGS["occlusion"],
    "iassa": bands.SETTINGS["iassa"],
    "de-cam": {"cells": 8, "budget": 600},
}
PAINTED = {"mc-rise"}  # half of the cells, mostly black in the planted band: for such a network evidence of another class
TEN = (
    "rise", "occlusion", "iassa", "de-cam", "sise", "grad-cam", "recipro-cam", "smooth-grad", "integrated-gradients",
    "lime", "extremal-perturbation",
)  # fmt: skip


@cache
def detector(channels: int) -> BlackBox:
    """Make the box whose weights are set by hand."""
    return bands.make_box(bands.make_detector(channels, bands.PLANTED[channels]))


@cache
def scene(channels: int) -> bands.Scene:
    """Draw one with a bright patch in the planted band."""
    return bands.draw_scene(channels, bands.PLANTED[channels], number=2)


def explain(channels: int, method: str, **settings: object) -> Explanation:
    """Explain why the scene has a bright patch."""
    return salience.explain(detector(channels), scene(channels).image, method, target="bright", **settings)


def expect_planted(why: Explanation, channels: int, region: torch.Tensor) -> None:
    """Expect the greatest share for the planted band, and the map's peak in the planted patch."""
    planted = bands.PLANTED[channels]
    assert why.bands is not None
    assert why.bands.ranked[0] == planted
    assert why.bands.shares[planted - 1] == max(why.bands.shares) > 0.9
    assert why.bands.high_shares[planted - 1] == max(why.bands.high_shares) > 0.9
    assert bool(region.flatten()[int(why.saliency.argmax())])


@pytest.mark.parametrize("method", TEN)
@pytest.mark.parametrize("channels", [4, pytest.param(13, marks=pytest.mark.slow)])
def test_the_planted_band_has_the_greatest_share_and_its_place_the_peak(channels: int, method: str) -> None:
    """The network answers by one band only, and only by what is in the patch."""
    expect_planted(explain(channels, method, **FEW.get(method, {})), channels, scene(channels).region)


@pytest.mark.slow
@pytest.mark.parametrize("channels", list(bands.PLANTED))
def test_every_method_finds_the_band_and_the_place_of_a_network_that_was_trained(channels: int) -> None:
    """It has learnt from drawn scenes which of its bands tells the class."""
    planted = bands.PLANTED[channels]
    box = bands.make_box(bands.train_network(channels, planted), mean=0.5, std=0.25)
    one = bands.choose_scenes(box, planted, 1)[0]
    for method in bands.list_methods():
        found = bands.explain_scene(box, one, method, planted)
        assert (method, found["first"]) == (method, 1)
        assert method in PAINTED or (method, found["inside"]) == (method, 1)
        assert found["share"] > 0.9


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_networks_of_any_number_of_channels_are_explained(channels: int) -> None:
    """By functions too; a network of one channel sees the grey of three, which have no shares of their own."""
    net = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()

    def score(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(images).permute(0, 3, 1, 2)).softmax(1).numpy()

    image = torch.rand(3 if channels == 1 else channels, 16, 16)
    for box in (salience.load(net, size=16), salience.load(score, size=16, channels=channels)):
        why = salience.explain(box, image, "occlusion", target=0, window=8, stride=8)
        assert why.saliency.shape == (16, 16)
        assert (why.bands is None) == (channels == 1)


def test_a_share_is_what_the_score_loses_without_the_band() -> None:
    """Everywhere, and where the map is high; counted beside the passes of the method."""
    box, image, why = detector(4), scene(4).image, explain(4, "gradient")
    hidden = image.clone()
    hidden[3] = box.mean[3]
    clean, without = box(torch.stack([image, hidden]))[:, 2].tolist()
    assert why.bands is not None
    assert why.bands.everywhere[3] == pytest.approx(clean - without, abs=1e-6)
    assert why.bands.everywhere[:3] == pytest.approx((0, 0, 0), abs=1e-6)
    assert sum(why.bands.shares) == pytest.approx(1)
    assert (why.passes, why.bands.passes) == (1, 8)


def test_a_band_that_speaks_against_the_class_has_no_share() -> None:
    """Its drop is below zero and is kept; where no band helps there is no share at all."""
    found = BandShares((-0.2, 0.3, 0.0), (-0.1, -0.2, 0.0), 0.15, 6)
    assert found.shares == (0, 1, 0)
    assert found.high_shares == (0, 0, 0)


@pytest.mark.parametrize(("budget", "passes", "measured"), [(400, 392, True), (100, 100, False), (None, 64, True)])
def test_a_budget_holds_for_the_method_and_the_bands_together(budget: int | None, passes: int, measured: bool) -> None:
    """One in which the bands would take more than a twentieth is the method's alone."""
    why = explain(4, "rise", budget=budget, masks=64 if budget is None else None)
    assert (why.passes, why.bands is not None) == (passes, measured)
    assert why.budget == (f"{budget} passes" if budget else "no limit")


def test_the_shares_can_be_left_out_and_boxes_of_photographs_have_none() -> None:
    """They are two passes a band."""
    assert explain(4, "gradient", band_shares=False).bands is None
    assert salience.explain(toy.load("colour"), toy.picture(), "gradient").bands is None


def test_pictures_and_targets_explained_together_have_shares_too() -> None:
    """One each: the bands of one class are not those of another."""
    bright, nothing = salience.explain(detector(4), scene(4).image, "gradient", target=["bright", "nothing"])
    both = salience.explain(detector(4), [scene(4).image] * 2, "gradient", target=["bright", "nothing"])
    assert bright.bands is not None
    assert bright.bands == both[0].bands
    assert nothing.bands == both[1].bands != bright.bands


def test_the_record_keeps_the_shares_and_old_ones_have_none(tmp_path: Path) -> None:
    """They are in the file's header, and in what --json prints."""
    why = explain(13, "gradient")
    again = Explanation.load(why.save(tmp_path / "why.salience"))
    assert again.bands == why.bands
    assert json.loads(json.dumps(collect_facts(why, "scene")))["bands"]["everywhere"]["shares"][8] > 0.9
    assert Explanation.load(OLD / "rise.salience").bands is None


def test_a_person_reads_the_first_bands(capsys: pytest.CaptureFixture[str]) -> None:
    """A line names them, with their shares."""
    print_explanation(Console(width=200), explain(4, "gradient"), "scene.npy", [])
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.strip().startswith("bands")]
    assert "band 4 100% of what the score loses without them; where the map is high 4 100% (8 passes)" in line


def test_the_composite_is_drawn(tmp_path: Path) -> None:
    """The bands named by rgb, under the map and beside it."""
    array = (scene(13).image * 65535).round().numpy().astype(np.uint16)
    np.save(tmp_path / "scene.npy", array)
    picture = read(tmp_path / "scene.npy", rgb="9,2,1", white=65535)
    why = salience.explain(detector(13), picture, "occlusion", target="bright", window=8, stride=4)
    drawn = torch.from_numpy(read_photograph(why))
    torch.testing.assert_close(drawn.permute(2, 0, 1), scene(13).image[[8, 1, 0]], atol=0.01, rtol=0)
    assert overlay.picture(why, size=128).width > 2 * 128
    expect_planted(why, 13, scene(13).region)


def test_the_command_line_explains_a_picture_of_many_bands(tmp_path: Path) -> None:
    """Through a file, with the bands that are drawn."""
    from salience.cli import main

    np.save(tmp_path / "scene.npy", scene(4).image.numpy())
    (tmp_path / "net.py").write_text("from benchmarks.bands import make_detector\nnet = make_detector(4, 4)\n")
    arguments = ["explain", str(tmp_path / "scene.npy"), "--box", f"py:{tmp_path / 'net.py'}:net?size=32"]
    arguments += ["--method", "gradient", "--rgb", "4,2,1", "--white", "1", "--black", "0", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    (file,) = (tmp_path / "out").glob("*.json")
    assert json.loads(file.read_text())["bands"]["everywhere"]["shares"][3] > 0.9


@pytest.mark.parametrize("name", fill.NAMES)
def test_every_fill_has_as_many_bands_as_the_image(name: str) -> None:
    """The named constants are the same in each."""
    box, image = detector(13), scene(13).image
    assert fill.make_fill(name, box, image).shape == image.shape


def test_superpixels_follow_an_edge_that_one_band_alone_has() -> None:
    """The bands themselves stand for CIELAB, each brought to the same deviation; a flat one is not stretched."""
    image = torch.full((6, 24, 24), 0.5)
    image[4, :, 13:] += 0.02  # faint, and in one band
    labels = superpixels.segment(image, count=8)
    assert all(len((labels == each).nonzero()[:, 1].ge(13).unique()) == 1 for each in labels.unique())
    assert float(superpixels.to_colours(image)[0].abs().max()) < 1e-3


def test_mc_rise_paints_every_band_alone() -> None:
    """Of other than three channels none is red; a colour that is asked for by name is refused in a sentence."""
    why = explain(4, "mc-rise", masks=16)
    assert why.evidence["names"] == ("black", "white", "band 1", "band 2", "band 3", "band 4")
    assert parse_colour("band 4", 4) == (0, 0, 0, 1)
    assert explain(4, "mc-rise", masks=16, colours=("grey", "band 2")).evidence["colours"].shape == (2, 32, 32)
    with pytest.raises(SettingError, match="expected a grey or a band, as in band 1, for an image of 4 channels, got 'red'"):
        McRise(masks=8, colours=("red",))(detector(4), scene(4).image, 2)


def test_the_example_of_the_page_on_pictures_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the band that its network reads, and draws."""
    (example,) = write_blocks(DOCS / "pictures.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example))
    assert capsys.readouterr().out.startswith("5 1")
    assert (tmp_path / "scene.png").exists()


def test_p_tame_learns_from_the_features_of_the_box_itself(tmp_path: Path) -> None:
    """One that looks at photographs has none for images of four bands, and is refused in a sentence."""
    images, _ = bands.draw_batch(4, 4, range(24))
    how = {"loop": Loop(steps=2, batch=4), "out": tmp_path, "keep": False}
    fitted = PTame(aux="box", held=4).fit(detector(4), images, **how)
    assert explain(4, "p-tame", explainer=str(fitted.path)).saliency.shape == (32, 32)
    with pytest.raises(BoxError, match="expected a network of 4 channels as aux, got toy:colour of 3: use aux=box"):
        PTame(aux="toy:colour", held=4).fit(detector(4), images, **how)


@pytest.mark.slow
def test_scaat_trains_a_network_of_four_bands(tmp_path: Path) -> None:
    """By its own gradient, and by the map of another method."""
    samples = [bands.draw_scene(4, 4, number) for number in range(12)]
    data = [Sample(str(number), each.image, (bands.CLASSES[each.label],)) for number, each in enumerate(samples)]
    for saliency in ("gradient", "grad-cam"):
        trained = Scaat(saliency=saliency).fit(detector(4), data, loop=Loop(steps=2, batch=4), out=tmp_path / saliency)
        assert (tmp_path / saliency).is_dir()
        assert trained is not None


def test_measures_take_images_of_any_number_of_bands() -> None:
    """Removal, imputation and noise are band by band."""
    why = explain(4, "gradient")
    found = measure(detector(4), why, ["road", "deletion", "infidelity/gaussian", "aopc", "max-sensitivity"])
    assert all(np.isfinite(each.value) for each in found)
