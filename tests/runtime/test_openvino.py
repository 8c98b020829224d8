"""The backend of compiled networks: the same answers, the same manners, and nothing told to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience import registry
from salience.boxes.torch import TorchBox, wrap
from salience.engine.perturb import masks
from salience.engine.query import loop
from salience.engine.query.ask import score_batch
from salience.engine.query.run import start_run
from salience.errors import BoxError
from salience.runtime import backends, cache_folder, compiled, disk_cache, openvino
from salience.runtime.compiled import _compiled_of, identify
from tests.boxes.nets import blends
from tests.boxes.test_torch import network, snapshot
from tests.helpers import apart, noise

IMAGES = noise(5, 3, 8, 8, dtype=torch.float32)


class Pair(nn.Module):
    """A module that returns more than its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits, and the images."""
        return {"logits": self.net(images), "images": images}


def box_of(module: nn.Module, **more: Any) -> TorchBox:
    """Make a compiled box of 8 × 8 pixels."""
    return wrap(module, size=8, **({"backend": "openvino"} | more))


@pytest.mark.parametrize(
    ("module", "more"),
    [
        (network(), {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}),
        (Pair(), {}),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), {"head": "binary"}),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 1), nn.Flatten(0)), {"head": "binary"}),
        (nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), {"channels": 1, "head": "sigmoid"}),
    ],
)
def test_a_compiled_box_answers_as_the_module_does(module: nn.Module, more: dict[str, Any]) -> None:
    """Normalisation, heads and odd outputs included, to the last digits; in sixteen bits nearly."""
    exact = box_of(module, backend="exact", **more)(IMAGES)
    assert apart(box_of(module, **more)(IMAGES), exact) < 1e-5
    assert apart(box_of(module, **more)(IMAGES.double()), exact) < 1e-5
    assert apart(*blends(box_of(module, **more))) < 1e-5
    if openvino.has_bfloat16():
        assert apart(box_of(module, backend="openvino bfloat16", **more)(IMAGES), exact) < 0.02


class Stream(nn.Module):
    """What transformers are at their core: small terms added to a large stream, read off at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(192, 64)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64)) for _ in range(24))
        self.head = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Add up."""
        stream = 8 * self.into(images.flatten(1))
        for block in self.blocks:
            stream = stream + block(stream)
        return self.head(stream)


def test_sums_on_the_way_to_the_answer_are_not_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are of sixteen bits; a stream that were rounded at every sum too would be twice as far off."""
    torch.manual_seed(0)
    if not openvino.has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    exact = box_of(module := Stream(), backend="exact", head="none")(IMAGES)
    near = box_of(module, backend="openvino bfloat16", head="none")(IMAGES)
    made = next(iter(_compiled_of[module][1].values()))
    monkeypatch.setattr(openvino, "keep_sums_precise", lambda network: None)
    _compiled_of.clear()  # to be compiled anew
    rounded = box_of(module, backend="openvino bfloat16", head="none")(IMAGES)
    assert len(made(IMAGES.numpy())) == 1  # what is kept for it is nobody's answer
    assert float((near - exact).abs().mean()) < 0.7 * float((rounded - exact).abs().mean())


@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_any_number_of_images_is_one_batch(count: int) -> None:
    """The network is made from two images, and its streams take shares of unlike sizes."""
    images, module = noise(count, 3, 8, 8, dtype=torch.float32), network()
    assert apart(box_of(module)(images), box_of(module, backend="exact")(images)) < 1e-5


def test_a_compiled_network_is_given_masks_and_blends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled from masks at once, or from images first; sixteen bits blend as well as they normalise."""
    module = network()
    monkeypatch.setattr(TorchBox, "submit", None)
    for backend in ("openvino", *backends.list_backends(torch.device("cpu"))[: openvino.has_bfloat16()]):
        _compiled_of.clear()
        ahead, behind = noise(2, 3, 8, 8, seed=3, dtype=torch.float32)
        lots = [masks.FullMasks(torch.full((2, 8, 8), 0.25))]
        box = box_of(module, backend=backend, mean=0.4, std=0.3)
        found = [scores for _, _, scores in loop.score_masked(box, ahead, 0, lots, behind)]
        exact = box_of(module, backend="exact", mean=0.4, std=0.3)._score((behind + 0.25 * (ahead - behind))[None], "exact")
        assert apart(found[0], exact[:, 0].expand(2)) < (1e-5 if backend == "openvino" else 0.02)


def test_what_has_a_row_an_image_is_dealt_out_with_them() -> None:
    """And what has a single row goes with each share; one image has both."""
    images, one = np.arange(5.0)[:, None], np.zeros((1, 1))
    for given, beside, counts in ((images, (one, -images), [[3, 1, 3], [2, 1, 2]]), (one, (one, -one), [[1, 1, 1]])):
        found = openvino.deal_out(given, beside, len(counts))
        assert [[len(each) for each in share] for share in found] == counts
        assert np.array_equal(np.concatenate([share[0] for share in found]), given)
        assert np.array_equal(np.concatenate([share[2] for share in found]), beside[1])


@pytest.mark.parametrize(
    "settings", [("rise", {"masks": 40}), ("mc-rise", {"masks": 40}), ("occlusion", {"window": 4, "stride": 2})]
)
def test_methods_find_the_same_in_a_compiled_network(settings: tuple[str, dict[str, Any]]) -> None:
    """Whether their masks are blended inside, or are more than masks and mix images by themselves."""
    module, method = network(), registry.make_method(settings[0], **settings[1])
    one, other = (
        method(box_of(module, backend=backend, mean=0.4, std=0.3), IMAGES[0], 1) for backend in ("openvino", "exact")
    )
    assert apart(one, other) < 1e-4 * float(other.abs().max())


def test_images_of_another_size_go_through_the_module_itself() -> None:
    """What was compiled has one size."""
    images, module = noise(2, 3, 12, 10, dtype=torch.float32), network()
    assert apart(box_of(module)(images), box_of(module, backend="exact")(images)) < 1e-5
    lots = [masks.FullMasks(torch.full((2, 12, 10), 0.5))]
    box = box_of(module)
    box(IMAGES)
    (scores,) = (y for _, _, y in loop.score_masked(box, images[0], 0, lots, images[1]))
    assert box.submit_blended(images[0], images[1]) is None
    assert box.submit_blended(IMAGES[0], IMAGES[1]) is not None
    assert box_of(module, backend="exact").submit_blended(IMAGES[0], IMAGES[1]) is None
    assert apart(scores, box_of(module, backend="exact")(images.mean(0, keepdim=True))[:, 0].expand(2)) < 1e-5


def test_a_compiled_network_takes_as_many_threads_as_torch() -> None:
    """Also when that changes: a process that was told to use one core keeps to it."""
    box = box_of(network())
    one = box(IMAGES)
    (compiled,) = _compiled_of[box.module][1].values()
    assert compiled.network.get_property("INFERENCE_NUM_THREADS") == 1
    torch.set_num_threads(2)
    try:
        assert apart(box(IMAGES), one) < 1e-6
        assert compiled.network.get_property("INFERENCE_NUM_THREADS") == 2
    finally:
        torch.set_num_threads(1)


def test_torch_makes_way_inside_a_run_also_for_who_shares_batches() -> None:
    """The network keeps the threads that torch had, and torch has them again afterwards."""
    box = box_of(network())
    torch.set_num_threads(2)
    seen: list[int] = []

    try:
        with start_run():
            score_batch(box, IMAGES)
            seen.append(torch.get_num_threads())
        assert seen == [1]
        assert torch.get_num_threads() == 2
        (compiled,) = _compiled_of[box.module][1].values()
        assert compiled.threads == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("task", ["write", "write to data", "replace", "hook"])
def test_a_changed_module_is_no_longer_asked_in_its_compiled_form(task: str) -> None:
    """A weight written in place, another layer, a hook: the answer is the changed module's."""
    module = network()
    box, before = box_of(module), box_of(module)(IMAGES)
    assert apart(box(IMAGES), before) == 0
    if task == "write":
        with torch.no_grad():
            module[3].bias[1] += 2
    elif task == "write to data":
        module[3].weight.data.mul_(9)  # torch does not count this
    elif task == "replace":
        module[3] = nn.Linear(4, 3)
    else:
        module[3].register_forward_hook(lambda _module, _inputs, output: output * 3)
    assert apart(box(IMAGES), box_of(module, backend="exact")(IMAGES)) < 1e-5
    assert apart(box(IMAGES), before) > 0.01
    assert box.backend == "torch channels-last"


def test_a_changed_module_is_noticed_when_masks_are_score() -> None:
    """Once for all their batches."""
    module = network()
    box, image = box_of(module), IMAGES[0]
    lot = masks.FullMasks(torch.ones(3, 8, 8))

    def seen(box: Any) -> Tensor:
        return torch.cat([y.clone() for _, _, y in loop.score_masked(box, image, 1, [lot], torch.zeros(3, 8, 8))])

    before = seen(box)
    assert box.in_flight == 2
    with torch.no_grad():
        module[3].bias[1] += 2
    after = box_of(module, backend="exact")(image[None])[0, 1]
    assert apart(seen(box), after.expand(3)) < 1e-5
    assert apart(before, after.expand(3)) > 0.01


@pytest.mark.parametrize("training", [False, True])
def test_compiling_leaves_the_module_as_it_was(training: bool) -> None:
    """Mode, gradients, weights, hooks, the process's random state."""
    module = network().train(training)
    before = snapshot(module)
    found = box_of(module)(IMAGES)
    assert snapshot(module) == before
    assert apart(found, box_of(module.eval(), backend="exact")(IMAGES)) < 1e-5


def test_a_box_may_be_asked_by_several_threads() -> None:
    """Each gets the answers to its own images."""
    box, asked = box_of(network()), [noise(7, 3, 8, 8, seed=seed, dtype=torch.float32) for seed in range(6)]
    known, found = [box(images) for images in asked], {}
    workers = [threading.Thread(target=lambda k=k: found.update({k: box(asked[k])})) for k in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(apart(found[k], known[k]) < 1e-6 for k in range(6))


class Stranger(nn.Module):
    """A module that leaves torch on its way."""

    def forward(self, images: Tensor) -> Tensor:
        """Sort by a rule that no graph holds."""
        return torch.linalg.eigvals(images[:, 0]).abs()[:, :3]


def test_a_module_that_cannot_be_compiled_says_so() -> None:
    """`auto` passes the backend over; who asked for it gets the reason."""
    score = box_of(Stranger(), backend="exact")._score
    chosen, check = backends.choose(score, noise(16, 3, 8, 8, dtype=torch.float32), backends.OPENVINO, worth=0)
    assert chosen == "exact"
    assert "it does not run: OpenVINO does not take it" in check["refused"]
    with pytest.raises(BoxError, match="expected Stranger to score images .* OpenVINO does not take it"):
        score_batch(box_of(Stranger()), IMAGES)


def test_a_network_is_compiled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process reads it; other weights, other code or a damaged file are compiled anew."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path))
    known, made = box_of(network())(IMAGES), []
    convert = compiled.convert
    monkeypatch.setattr(compiled, "convert", lambda *given: made.append(1) or convert(*given))
    assert apart(box_of(network())(IMAGES), known) == 0
    assert made == []
    (file,) = tmp_path.rglob("*.entry")
    file.write_bytes(file.read_bytes()[:100])
    assert apart(box_of(network())(IMAGES), known) == 0
    code, weights = network(), network()
    code[3].scale = 0.5
    nn.init.ones_(weights[3].bias)
    box_of(code)(IMAGES)
    box_of(weights)(IMAGES)
    assert len(made) == 3


def test_openvino_is_imported_without_its_reports() -> None:
    """By itself it tells its makers of every import; a module that the user imported stays as it is."""
    program = (
        "import sys; from salience.runtime import openvino; openvino.get_core();"
        "print('openvino_telemetry' in sys.modules, any(name.startswith('openvino_telemetry') for name in sys.modules));"
        "sys.modules['openvino_telemetry'] = 5; openvino.import_openvino(); print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    assert done.stdout.split() == ["False", "False", "5"]


def clocked(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> tuple[backends.Score, list[str]]:
    """Make scores of backends that take so long for sixteen images, and a list of those that were asked."""
    clock, asked = [0.0], list[str]()
    monkeypatch.setattr(backends.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(backends, "has_bfloat16", lambda: True)

    def score(images: Tensor, backend: str) -> Tensor:
        clock[0] += seconds[backend] * len(images) / 16
        asked.append(backend)
        assert len(images) <= backends.PART  # the peak of memory is that of a part
        return images.mean((2, 3)).softmax(1)

    return score, asked


@pytest.mark.parametrize(
    ("seconds", "backend"),
    [
        ({"openvino bfloat16": 1, "openvino": 2, "torch bfloat16": 3, "torch channels-last": 4}, "openvino bfloat16"),
        ({"openvino bfloat16": 9, "openvino": 2, "torch bfloat16": 3, "torch channels-last": 4}, "openvino"),
        ({"openvino bfloat16": 4, "openvino": 4, "torch bfloat16": 3, "torch channels-last": 4}, "torch bfloat16"),
        ({"openvino bfloat16": 9, "openvino": 9, "torch bfloat16": 9, "torch channels-last": 9}, "exact"),
    ],
)
def test_the_fastest_backend_is_chosen_compiled_or_not(
    seconds: dict[str, float], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each took stands in the check."""
    score, _ = clocked(monkeypatch, seconds | {"exact": 8.0})
    chosen, check = backends.choose(score, noise(16, 3, 4, 4, dtype=torch.float32))
    assert chosen == backend
    took = seconds["openvino bfloat16"]
    assert check["tried"]["openvino bfloat16"] == (8 / took if took < 8 else backends.SLOW)


def test_a_quick_network_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making it would take longer than all its passes."""
    score, asked = clocked(monkeypatch, dict.fromkeys(backends.list_backends(torch.device("cpu")), 1e-3) | {"exact": 15e-3})
    assert backends.choose(score, noise(16, 3, 4, 4, dtype=torch.float32))[0] == "torch bfloat16"
    assert not set(asked) & set(backends.OPENVINO)


def test_a_choice_that_was_kept_has_to_agree_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process asks that backend and exact alone; if they differ, everything is tried as if nothing were kept."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path))
    box, images = box_of(network(), backend="exact"), noise(16, 3, 8, 8, dtype=torch.float32)
    times = {"openvino bfloat16": 1.0, "openvino": 2.0, "torch bfloat16": 3.0, "torch channels-last": 4.0, "exact": 8.0}
    score, asked = clocked(monkeypatch, times)
    first, second = (backends.choose_remembered(score, images, identify(box), list(times)) for _ in range(2))
    assert first == second
    assert first[0] == "openvino bfloat16"
    assert asked[-4:] == 2 * ["exact"] + 2 * ["openvino bfloat16"]  # once each, in two parts
    times["exact"] = 6.0  # a machine that is busy once is not busy for good
    backend, check = backends.choose_remembered(score, images, identify(box), list(times))
    assert (backend, first[1]["speed-up"], check["speed-up"]) == ("openvino bfloat16", 8, 6)
    times["openvino bfloat16"] = 4.0  # it was quick by accident, and all are compared anew
    backend, check = backends.choose_remembered(score, images, identify(box), list(times))
    assert (backend, check["speed-up"]) == ("openvino", 3)
    times["openvino bfloat16"] = 1.0
    assert backends.choose_remembered(score, images, identify(box), list(times))[0] == "openvino"
    assert backends.choose_remembered(score, images, identify(box), list(times), anew=True)[0] == "openvino bfloat16"
    monkeypatch.setattr(backends, "AGREEMENT", 2.0)
    assert backends.choose_remembered(score, images, identify(box), list(times))[0] == "exact"


def test_the_cache_drops_what_was_used_least_recently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files come and go whole; nothing is kept without a folder, and a folder that cannot be made harms nobody."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(disk_cache, "MOST", 2 * (10 + 32) + 5)
    for number, name in enumerate("abc"):
        disk_cache.write(name, bytes(10))
        os.utime(str(cache_folder.find_path(name)), (number, number))
    assert disk_cache.read("a") is None
    assert disk_cache.read("b") == bytes(10)
    disk_cache.write("d", bytes(10))
    assert set((tmp_path / "cache").rglob("*.entry")) == {cache_folder.find_path("b"), cache_folder.find_path("d")}
    monkeypatch.setenv("SALIENCE_CACHE", "/dev/null/none")
    disk_cache.write("e", b"1")
    assert disk_cache.read("e") is None
    monkeypatch.setenv("SALIENCE_CACHE", "")
    disk_cache.write("e", b"1")
    assert disk_cache.read("e") is None


def test_code_that_nobody_can_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of a notebook may change while its weights stay."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path))
    spoken: dict[str, Any] = {"nn": nn, "__name__": "spoken"}
    exec("class Net(nn.Sequential): pass", spoken)  # noqa: S102  # our own text
    assert disk_cache.hash_code(spoken["Net"](nn.Flatten(), nn.Linear(192, 3))) is None
    box_of(spoken["Net"](nn.Flatten(), nn.Linear(192, 3)))(IMAGES)
    assert list(tmp_path.iterdir()) == []
