"""Any torch module as a box."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes import toy
from salience.boxes.torch import TorchBox, wrap
from salience.engine.query.ask import choose_backend
from salience.errors import BoxError, SettingError, UnknownName
from salience.picture import Preparation
from salience.runtime import backends
from tests.helpers import apart, noise, same

IMAGES = noise(4, 3, 8, 8, dtype=torch.float32)
RAW = torch.tensor([[2.0, -1.0, 0.5]])


class Says(nn.Module):
    """A module that always answers the same, in some form."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> Any:
        """Answer."""
        return self.answer


class Output:
    """What transformers return, roughly."""

    logits = RAW


def box_of(module: nn.Module, **more: Any) -> TorchBox:
    """Make a box of 8 × 8 pixels."""
    return wrap(module, size=8, **({"backend": "exact"} | more))


def network() -> nn.Sequential:
    """Make a small network with what is sensitive to modes."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("head", "raw", "expected"),
    [
        ("softmax", RAW, RAW.softmax(1)),
        ("sigmoid", RAW, RAW.sigmoid()),
        ("none", RAW, RAW),
        ("binary", RAW[:, :1], torch.tensor([[1 - 0.880797, 0.880797]])),
        ("binary", RAW[:, 0], torch.tensor([[1 - 0.880797, 0.880797]])),
    ],
)
def test_the_head_turns_what_the_module_says_into_scores(head: str, raw: Tensor, expected: Tensor) -> None:
    """A binary logit speaks for the second class."""
    assert apart(box_of(Says(raw), head=head)(IMAGES[:1]), expected) < 1e-6


@pytest.mark.parametrize(
    "answer", [RAW, (RAW, 5), [RAW], {"logits": RAW, "a": 0}, {"out": RAW}, Output(), (Output(),), RAW[:, :, None, None]]
)
def test_logits_are_found_in_what_a_module_returns(answer: Any) -> None:
    """A tensor, a tuple, a dictionary, an object with logits, maps of one pixel."""
    assert apart(box_of(Says(answer))(IMAGES[:1]), RAW.softmax(1)) < 1e-6


def test_a_module_without_logits_is_refused() -> None:
    """Guessing among its outputs would explain something else."""
    with pytest.raises(BoxError, match="expected logits from the module, got str: wrap it to return a tensor"):
        box_of(Says("cat"))(IMAGES)
    with pytest.raises(BoxError, match="expected one logit for a binary head, got 3: use the softmax head"):
        box_of(Says(RAW), head="binary")(IMAGES)


def test_the_boxs_normalisation_is_applied_inside() -> None:
    """(image − mean) / std, once."""
    seen: list[Tensor] = []

    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return images.mean((2, 3))

    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    box_of(Looks(), mean=mean, std=std)(IMAGES)
    known = (IMAGES - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert apart(seen[0], known) < 1e-6


def test_a_grey_module_gets_one_channel() -> None:
    """The mean of the three, so that grey stays grey."""
    box = box_of(nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels=1)
    grey = IMAGES[:, :1].expand(-1, 3, -1, -1)
    known = box.module(grey[:, :1]).softmax(1).detach()
    assert apart(box(grey), known) < 1e-6


def test_a_first_layer_that_writes_in_place_does_not_touch_the_images() -> None:
    """It gets a copy; the caller's pixels stay."""
    images = IMAGES - 0.0
    kept = images.clone()
    box_of(nn.Sequential(nn.ReLU(inplace=True), nn.Threshold(0.9, 0.0, inplace=True), toy.Colour()))(images)
    assert torch.equal(images, kept)


def snapshot(module: nn.Module) -> list[Any]:
    """Write down what a call could change."""
    return [
        [each.training for each in module.modules()],
        [each.requires_grad for each in module.parameters()],
        [None if each.grad is None else each.grad.tolist() for each in module.parameters()],
        [each.tolist() for each in module.state_dict().values()],
        [len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks) for each in module.modules()],
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("task", ["score", "logits", "layers", "tap", "read", "onward", "settle", "fail"])
def test_the_module_is_as_before_whatever_was_done(task: str, training: bool) -> None:
    """Mode, requires_grad, .grad, weights, running means, hooks, the process's random state; also after an error."""
    module = network().train(training)
    module[0][1].eval()  # one part frozen by its owner, as in fine-tuning
    module[3].weight.requires_grad_(False)
    module[3].bias.grad = torch.ones(3)
    box, before = box_of(module, backend="auto"), snapshot(module)
    tasks: dict[str, Any] = {
        "score": lambda: box(IMAGES),
        "logits": lambda: box.logits(IMAGES),
        "layers": box.layers,
        "tap": lambda: box.activations(IMAGES, ["0.2"]),
        "read": lambda: box.differentiate(IMAGES, None, ["image", "0.2"]),
        "onward": lambda: box.forward_from(IMAGES[:1], "0.2", 2 * box.activations(IMAGES, ["0.2"])["0.2"]),
        "settle": lambda: box.choose_backend(IMAGES),
    }
    if task == "fail":
        with pytest.raises(RuntimeError):
            box.activations(IMAGES[:, :, :1, :1], ["0.2"])
    else:
        tasks[task]()
    assert snapshot(module) == before


def test_training_mode_gives_the_scores_of_eval_mode() -> None:
    """Dropout is off and batch norms use what they have learnt."""
    module = network().eval()
    known = box_of(module)(IMAGES)
    assert torch.equal(box_of(module.train())(IMAGES), known)


def test_a_slope_is_the_gradient_of_the_logit() -> None:
    """By hand, through the normalisation."""
    module = network().double().eval()
    box, leaf = box_of(module, std=0.5), noise(2, 3, 8, 8).requires_grad_()
    (by_hand,) = torch.autograd.grad(module(leaf / 0.5)[:, 2].sum(), leaf)
    assert same(box.differentiate(leaf.detach(), [2] * len(leaf), ["image"]).gradients["image"], by_hand, 1e-10)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_module_of_another_precision_scores_in_its_own(kind: torch.dtype) -> None:
    """Images are turned into its type, scores come back wide."""
    found = box_of(network().eval().to(kind), backend="auto")(IMAGES)
    assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert apart(found, box_of(network().eval())(IMAGES)) < 0.02


def test_the_fingerprint_follows_the_weights_and_nothing_else() -> None:
    """Equal weights, equal fingerprint; a weight written in place, another head or normalisation, another."""
    module = network()
    box = box_of(module)
    first = box.fingerprint
    box(IMAGES)
    box.differentiate(IMAGES, None, ["image"])
    assert box.fingerprint == first == box_of(network()).fingerprint
    assert len({first, box_of(module, head="sigmoid").fingerprint, box_of(module, std=0.5).fingerprint}) == 3
    with torch.no_grad():
        module[3].weight[0, 0] += 1
    assert box.fingerprint != first
    with torch.no_grad():
        module[3].weight[0, 0] -= 1
    assert box.fingerprint != box_of(nn.Sequential(network(), nn.Identity())).fingerprint


class Rounds(nn.Module):
    """A network that breaks in sixteen bits: it looks at digits that they do not hold."""

    def forward(self, images: Tensor) -> Tensor:
        """Multiply in the backend's precision, and magnify the last digits."""
        flat = images.flatten(1)
        return (flat @ flat.new_full((192, 3), 0.01).cumsum(0)).float().mul(100).frac() * 10


@pytest.mark.parametrize("backend", ["torch bfloat16", "torch float16"])
def test_a_backend_that_disagrees_is_refused_however_fast(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A faster backend must agree with exact on the check images; what was found is kept."""
    clock = [0.0]
    monkeypatch.setattr(backends.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(backends, "has_bfloat16", lambda: True)
    monkeypatch.setattr(backends, "list_backends", lambda _: (backend, "exact"))
    box = box_of(Rounds())

    def score(images: Tensor, asked: str) -> Tensor:
        clock[0] += 2.0 if asked == "exact" else 1.0
        return box._score(images, asked)

    chosen, check = backends.choose(score, noise(16, 3, 8, 8, dtype=torch.float32))
    assert chosen == "exact"
    assert (check["backend"], check["refused"]) == (backend, "its scores differ from exact")
    assert check["speed-up"] == 2
    assert check["mean difference"] > backends.TOLERANCE or check["rank agreement"] < backends.AGREEMENT


def timed(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, list[float]]) -> tuple[Any, list[str]]:
    """Make scores of backends that take these seconds a pass, call after call, and a list of the turns that were taken."""
    clock, asked = [0.0], list[str]()
    monkeypatch.setattr(backends.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(backends, "has_bfloat16", lambda: True)

    def score(images: Tensor, backend: str) -> Tensor:
        turn = asked.count(backend) // 2  # in two parts
        asked.append(backend)
        clock[0] += seconds[backend][turn % len(seconds[backend])] * len(images)
        return images.mean((2, 3)).softmax(1)

    return score, asked


CHECKED = noise(16, 3, 4, 4, dtype=torch.float32)


@pytest.mark.parametrize(
    ("half", "float32", "backend"),
    [(1.0, 1.5, "torch bfloat16"), (1.5, 1.0, "torch channels-last"), (2.2, 2.1, "exact"), (1.97, 1.99, "exact")],
)
def test_among_backends_that_agree_the_fastest_is_chosen(
    half: float, float32: float, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen bits are no faster where a processor has none; exact stays where nothing is clearly faster."""
    seconds = {"exact": [0.2], "torch bfloat16": [half / 10], "torch channels-last": [float32 / 10]}
    chosen, check = backends.choose(timed(monkeypatch, seconds)[0], CHECKED, list(seconds))
    assert chosen == backend
    assert check.get("refused") == (None if backend != "exact" else "it is no faster")
    assert check["passes a second"] == pytest.approx(10 / min(half, float32, 2.0) if backend != "exact" else 5)


def test_backends_take_turns_until_the_ranking_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is far slower has one turn; of near ones the median of many counts, and one slow turn of the fastest nothing."""
    near = {"exact": [0.08], "torch bfloat16": [0.010, 0.015, 0.010], "torch channels-last": [0.011]}
    score, asked = timed(monkeypatch, near)
    monkeypatch.setattr(backends, "SECONDS", 60)
    assert backends.choose(score, CHECKED, list(near))[0] == "torch bfloat16"
    assert asked.count("exact") == 2
    assert asked.count("torch bfloat16") == asked.count("torch channels-last") == 2 * backends.TURNS
    score, asked = timed(monkeypatch, near)
    monkeypatch.setattr(backends, "SECONDS", 0.0)
    assert backends.choose(score, CHECKED, list(near))[0] == "torch bfloat16"
    assert len(asked) == 6  # the time is spent after a turn of each


def test_a_processor_without_bfloat16_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch imitates it there, and one pass may take as long as all others."""
    score, _ = timed(monkeypatch, {"exact": [0.2], "torch channels-last": [0.1]})
    monkeypatch.setattr(backends, "has_bfloat16", lambda: False)
    check = backends.choose(score, CHECKED, ["torch bfloat16", "torch channels-last", "exact"])[1]
    assert check["tried"] == {"torch bfloat16": backends.NO_BFLOAT16, "torch channels-last": pytest.approx(2)}


def test_a_backend_that_does_not_run_is_passed_over() -> None:
    """An operator may have no kernel of that type; the box stays exact and says why."""

    def score(images: Tensor, asked: str) -> Tensor:
        if asked != "exact":
            raise RuntimeError("no kernel")
        return images.mean((2, 3)).softmax(1)

    chosen, check = backends.choose(score, IMAGES)
    assert chosen == "exact"
    assert check["refused"] == "it does not run: no kernel"


def test_a_backend_is_chosen_once_and_kept() -> None:
    """Settling costs a few passes, so it is done on the first image only; a backend that was given stays."""
    box = box_of(network(), backend="auto")
    choose_backend(box, IMAGES[0])
    found, box.check = box.backend, {"kept": True}
    choose_backend(box, IMAGES[1])
    assert (box.backend, box.check) == (found, {"kept": True})
    given = box_of(network(), backend="torch channels-last")
    choose_backend(given, IMAGES[0])
    assert (given.backend, given.check) == ("torch channels-last", {})


@pytest.mark.parametrize("backend", ["torch channels-last", "torch bfloat16"])
def test_a_backend_agrees_with_exact(backend: str) -> None:
    """Memory order changes nothing but the last digits, sixteen bits a little more."""
    exact = box_of(network())(IMAGES)
    assert apart(box_of(network(), backend=backend)(IMAGES), exact) < (1e-5 if backend == "torch channels-last" else 0.02)
    assert apart(box_of(network(), backend=backend)(IMAGES.double()), exact) < (
        1e-5 if backend == "torch channels-last" else 0.02
    )


@pytest.mark.parametrize("backend", ["torch compile", "torch compile bfloat16"])
def test_what_torch_compiles_answers_as_the_module_does(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For batches of any size, with weights as they are now; what looks inside reads the module. `auto` leaves it alone."""
    made, compiled = list[nn.Module](), torch.compile

    def quick(module: nn.Module) -> Any:
        made.append(module)
        return compiled(module, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", quick)
    module, near = network(), 1e-5 if backend == "torch compile" else 0.02
    box, exact = box_of(module, backend=backend), box_of(module)
    for count in (4, 3, 1):
        assert apart(box(IMAGES[:count]), exact(IMAGES[:count])) < near
    with torch.no_grad():
        next(module.parameters()).mul_(3)
    assert apart(box.with_logits()(IMAGES), exact.with_logits()(IMAGES)) < 10 * near
    one, other = (each.differentiate(IMAGES, None, ["image"]).gradients["image"] for each in (box, exact))
    assert same(one, other, 1e-6)
    assert made == [module]
    assert box.reinitialise((), seed=0).backend == ("torch bfloat16" if "bf" in backend else "torch channels-last")
    assert not any("compile" in each for each in backends.list_backends(torch.device("cpu")))


def test_without_openvino_its_backends_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who asks for one learns what to install."""
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    assert backends.list_backends(torch.device("cpu")) == ("torch bfloat16", "torch channels-last", "exact")
    with pytest.raises(BoxError, match="expected the package openvino for backend 'openvino', got none: install openvino"):
        box_of(network(), backend="openvino")


def test_classes_are_counted_where_nobody_names_them() -> None:
    """One pass over a black image says how many."""
    assert box_of(network()).classes == ("class 0", "class 1", "class 2")
    assert box_of(network(), classes=["a", "b", "c"]).classes == ("a", "b", "c")


def test_the_mean_colour_is_grey_without_a_normalisation() -> None:
    """Black is not the mean of photographs."""
    assert box_of(network()).mean == (0.5, 0.5, 0.5)
    assert box_of(network(), mean=(0.1, 0.2, 0.3)).mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"head": "argmax"}, SettingError, "expected a head, one of softmax, .*, ordinal, got 'argmax'"),
        ({"backend": "warp"}, UnknownName, "expected the name of a backend, got 'warp': did you mean auto"),
        ({"size": "big"}, SettingError, "expected a number or several with commas between, got 'big'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    """With what there is."""
    with pytest.raises(error, match=text):
        wrap(network(), **({"size": 8} | options))


def test_options_may_be_text_as_on_the_command_line() -> None:
    """`?size=24x32&mean=0.5&std=0.2,0.3,0.4&channels=3`."""
    box = wrap(network(), size="24x32", mean="0.5", std="0.2,0.3,0.4", resize="40", filter="bicubic", channels="3")
    assert box.preparation == Preparation((24, 32), 40, "bicubic", (0.5,) * 3, (0.2, 0.3, 0.4))


def test_a_saved_network_is_loaded(tmp_path: Any) -> None:
    """`torch.export` files keep the graph, so no code is needed."""
    program = torch.export.export(network().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "net.pt2")
    from salience import specs

    box = specs.open_box(f"torch:{tmp_path / 'net.pt2'}?size=8&backend=exact")
    assert apart(box(IMAGES), box_of(network())(IMAGES)) < 1e-6
    with pytest.raises(BoxError, match="expected a saved network in none.pt2, got"):
        specs.open_box("torch:none.pt2?size=8")


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_a_compiled_module_is_read_as_it_was_written(how: str) -> None:
    """Hooks need the modules; scores go on through what was compiled."""
    plain, compiled = box_of(network().eval(), backend="exact"), network().eval()
    compiled.load_state_dict(plain.module.state_dict())
    if how == "wrapped":
        compiled = torch.compile(compiled, backend="eager")
    else:
        compiled.compile(backend="eager")
    box = box_of(compiled, backend="exact")
    assert same(box(IMAGES), plain(IMAGES), 1e-6)
    assert box.layers() == plain.layers()
    one, other = (each.differentiate(IMAGES, None, ["image", *plain.layers()]) for each in (box, plain))
    assert all(same(one.gradients[layer], other.gradients[layer], 1e-6) for layer in other.gradients)
    assert same(box(IMAGES), plain(IMAGES), 1e-6)


def test_a_box_in_half_precision_is_read_in_its_own_precision() -> None:
    """And agrees with itself in full to three digits."""
    module = network().eval()
    whole = box_of(module).differentiate(IMAGES, [1] * len(IMAGES), ["0.2"]).gradients["0.2"]
    half = box_of(module.to(torch.bfloat16)).differentiate(IMAGES, [1] * len(IMAGES), ["0.2"]).gradients["0.2"]
    assert half.dtype == torch.bfloat16
    assert apart(half, whole) <= 0.03 * float(whole.abs().max())


def test_a_bare_box_answers_with_logits() -> None:
    """In the same backend, of the same weights; the box itself answers as before."""
    box = box_of(network().eval())
    assert same(box.with_logits()(IMAGES), box.logits(IMAGES), 1e-6)
    assert same(box(IMAGES).sum(1), torch.ones(len(IMAGES)), 1e-6)
