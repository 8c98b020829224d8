"""The one loop that asks for scores."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import torch

from salience.boxes import toy
from salience.engine import validate
from salience.engine.perturb import masks
from salience.engine.query import loop
from salience.engine.query.ask import AGAIN, choose_backend
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.budget import Budget
from salience.engine.query.run import current, plan_passes, start_run
from salience.errors import BoxError, BudgetError, SettingError
from salience.estimates import Estimate
from salience.types import BackendBox
from tests.helpers import Asked, apart, brightness, curved, noise, same

IMAGE = noise(3, 8, 8, dtype=torch.float32)
FILL = torch.zeros(3, 8, 8)


def lots(count: int = 40) -> list[masks.FullMasks]:
    """Make two lots of masks."""
    drawn = noise(count, 8, 8, seed=1, dtype=torch.float32)
    return [masks.FullMasks(drawn[: count // 2]), masks.FullMasks(drawn[count // 2 :])]


def scores(box: object, found: list[masks.FullMasks], **limits: object) -> torch.Tensor:
    """Probe and collect."""
    with start_run(**limits):
        return torch.cat([part.clone() for _, _, part in loop.score_masked(box, IMAGE, 1, found, FILL)])


def test_a_score_is_that_of_the_blended_image() -> None:
    """A masked image is fill + mask · (image − fill)."""
    box, image, behind = curved(), noise(3, 8, 8), noise(3, 8, 8, seed=2)
    drawn = noise(9, 8, 8, seed=1)
    slow = torch.stack([box((behind + m * (image - behind))[None])[0, 2] for m in drawn])
    got = torch.cat([y for _, _, y in loop.score_masked(box, image, 2, [masks.FullMasks(drawn)], behind)])
    assert same(got, slow)


def test_a_mask_of_ones_shows_the_very_image() -> None:
    """Blending is exact at both ends, so curves end exactly at the clean score."""
    seen: list[torch.Tensor] = []
    box = Asked(lambda images: (seen.append(images.clone()), brightness(images))[1])
    scores(box, [masks.FullMasks(torch.stack([torch.ones(8, 8), torch.zeros(8, 8)]))])
    assert torch.equal(seen[0], torch.stack([IMAGE, FILL]))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_batch_size_changes_no_score(batch: int) -> None:
    """The box is asked in other portions for the same masks."""
    box = Asked(brightness)
    got = scores(box, lots(), batch=batch)
    assert apart(got, scores(Asked(brightness), lots(), batch=40)) < 1e-6
    assert max(box.batches) <= batch
    assert sum(box.batches) == 40


def test_each_pass_is_counted_and_told() -> None:
    """A pass is an image scored; the clean image is one too."""
    told: list[tuple[int, int | None]] = []
    with start_run(batch=16, progress=lambda done, of: told.append((done, of))) as run:
        plan_passes(40, default=1, least=1, what="test")
        loop.score_image(Asked(brightness), IMAGE, 1)
        for _ in loop.score_masked(Asked(brightness), IMAGE, 1, lots(), FILL):
            pass
    assert run.passes == 41
    assert told == [(1, 40), (17, 40), (21, 40), (37, 40), (41, 40)]


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_budget_of_passes_is_kept_to_the_pass(batch: int) -> None:
    """The last batch is cut to what is left."""
    box = Asked(brightness)
    assert len(scores(box, lots(), budget=23, batch=batch)) == 23
    assert sum(box.batches) == 23


def test_a_budget_of_time_ends_the_loop_at_the_next_batch() -> None:
    """What was scored until then is kept."""

    def slow(images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return brightness(images)

    assert 1 <= len(scores(Asked(slow), lots(400), budget="0.1s", batch=4)) < 60


def test_time_that_ends_before_the_least_is_an_error_in_words() -> None:
    """Half a cover is no map."""
    with (
        start_run(Budget(seconds=1e-9)),
        pytest.raises(BudgetError, match="expected time for at least 12 passes, got 1e-09s, which allowed 0"),
    ):
        list(loop.score_masked(Asked(brightness), IMAGE, 1, lots(), FILL, least=12))


def test_a_budget_below_the_least_is_refused_before_any_pass() -> None:
    """The sentence says how many it takes."""
    with start_run(10), pytest.raises(BudgetError, match="at least 50 passes for occlusion, got 10 passes"):
        plan_passes(None, default=100, least=50, what="occlusion")


@pytest.mark.parametrize(
    ("asked", "budget", "planned"),
    [(None, None, 100), (30, None, 30), (None, 70, 70), (30, 70, 30), (90, 70, 70), (None, "9s", 2**31)],
)
def test_a_plan_is_what_was_asked_within_the_budget(asked: int | None, budget: object, planned: int) -> None:
    """Nothing asked: all that the budget allows, or the default; time alone bounds no number."""
    with start_run(budget):
        assert plan_passes(asked, default=100, least=2, what="test") == planned


def test_want_of_memory_halves_the_batch_and_loses_nothing() -> None:
    """The part that failed is asked again, in smaller portions."""

    def small(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 4:
            raise torch.OutOfMemoryError("not enough")
        return brightness(images)

    box = Asked(small)
    assert apart(scores(box, lots(), batch=32), scores(Asked(brightness), lots(), batch=40)) < 1e-6
    assert box.batches[:3] == [20, 8, 4]
    assert max(box.batches[3:]) <= 4


def test_no_memory_for_one_image_is_said() -> None:
    """One cannot be halved."""

    def none(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("not enough")

    with pytest.raises(BoxError, match="expected memory for one image, got none"):
        scores(Asked(none), lots())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda images: brightness(images) * float("nan"), "expected finite scores from asked, got NaN"),
        (lambda images: brightness(images)[:, :1], r"scores of shape \(8, 2\), got \(8, 1\): check the function"),
        (lambda images: brightness(images)[0], r"scores of shape \(8, 2\), got \(2,\)"),
        (lambda images: [0.5, 0.5], "got list"),
        (lambda images: 1 / 0, r"to score images of shape \(8, 3, 8, 8\), got ZeroDivisionError: division by zero"),
    ],
)
def test_a_box_that_answers_wrongly_is_named_in_words(answer: object, text: str) -> None:
    """NaN, a wrong shape or an error must never become a map."""
    with pytest.raises(BoxError, match=text):
        scores(Asked(answer), lots(), batch=8)


def test_a_module_that_fails_is_named_before_the_first_mask() -> None:
    """Choosing a backend is the first time that the module runs."""
    box = toy.load("colour", backend="auto")
    box.module = torch.nn.Linear(5, 3)
    with pytest.raises(BoxError, match="expected toy:colour to score images of shape .* got RuntimeError"):
        choose_backend(box, IMAGE)


def test_choosing_a_backend_takes_nothing_off_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done once for a box; ten seconds are ten seconds of passes, for the first picture too."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    box = toy.load("colour", backend="auto")
    monkeypatch.setattr(box, "choose_backend", lambda images, anew: clock.__setitem__(0, 30.0))
    with start_run("10s") as run:
        run.started = 0.0
        choose_backend(box, IMAGE)
        assert not run.late
        clock[0] = 41.0
        assert run.late


def test_a_loop_that_is_left_early_leaves_no_run_behind() -> None:
    """The run is current inside its block only, however it ends."""
    with start_run(100) as run:
        steps = loop.score_masked(Asked(brightness), IMAGE, 1, lots(), FILL)
        next(steps)
        steps.close()
    assert current.get() is None
    assert 0 < run.passes < 40
    with pytest.raises(ZeroDivisionError), start_run(5):
        _ = 1 / 0
    assert current.get() is None


def test_runs_inside_one_another_come_back() -> None:
    """An inner run counts for itself; the outer goes on."""
    with start_run(100) as outer:
        with start_run(50) as inner:
            loop.score_image(Asked(brightness), IMAGE, 1)
        loop.score_image(Asked(brightness), IMAGE, 1)
    assert (outer.passes, inner.passes) == (1, 1)


def test_whoever_is_told_may_stop_the_loop() -> None:
    """An error in the progress function comes through as it is."""

    def stop(done: int, expected: int | None) -> None:
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores(Asked(brightness), lots(), progress=stop)


def test_a_box_without_a_hash_is_probed_too() -> None:
    """A dataclass compares by value, and so has no hash to be remembered by."""

    @dataclass
    class Plain(Asked):
        side: int = 8

        def __post_init__(self) -> None:
            super().__init__(brightness)

    assert len(scores(Plain(), lots())) == 40


def test_a_sampler_that_finds_nothing_is_refused() -> None:
    """Its author forgot the last yield."""
    with pytest.raises(SettingError, match="expected a sampler to yield at least once"):
        loop.run_to_end(iter(()))
    assert loop.run_to_end(iter([Estimate(torch.zeros(1, 1)), Estimate(torch.ones(1, 1))])).saliency.item() == 1


@pytest.mark.parametrize(("value", "text"), [(0, "1 ≤ masks ≤ 5, got 0"), (6, "1 ≤ masks ≤ 5, got 6")])
def test_a_setting_out_of_range_is_refused_with_its_range(value: int, text: str) -> None:
    """The sentence shows both ends."""
    with pytest.raises(SettingError, match=text):
        validate.expect_between("masks", value, 1, 5)


class Fading(Asked, BackendBox):
    """A box whose passes take much longer than was promised, until it chooses once more."""

    def __init__(self, seconds: float) -> None:
        super().__init__(brightness)
        self.backend, self.backend_chosen, self.check = "slow", True, {"backend": "slow", "passes a second": 400.0}
        self.seconds, self.chosen = seconds, list[bool]()

    def choose_backend(self, images: torch.Tensor, *, anew: bool = False) -> None:
        """Take the other one."""
        self.chosen.append(anew)
        self.backend, self.seconds, self.check = "quick", 0.0, {"backend": "quick", "passes a second": 9e9}

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Take the time."""
        time.sleep(self.seconds * len(images))
        return super().__call__(images)


@pytest.mark.parametrize(("seconds", "limits", "chosen"), [(0.02, {}, [True]), (0.02, {"batch": 8}, []), (0.0, {}, [])])
def test_a_backend_much_slower_than_promised_is_chosen_anew_once(
    seconds: float, limits: dict[str, int], chosen: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two lots of masks, as soon as the best batch is known; not in a run of a fixed batch."""
    box, many = Fading(seconds), [masks.FullMasks(noise(16, 8, 8, seed=k, dtype=torch.float32)) for k in range(8)]
    monkeypatch.setattr(BatchSize, "of", lambda box, task="score", known={}: known.setdefault(box.backend, settled()))
    got = scores(box, many, **limits)
    assert box.chosen == chosen
    assert box.check.get(AGAIN, "slow made").startswith("slow made")
    assert (AGAIN in box.check) == bool(chosen)
    assert apart(got, scores(Asked(brightness), many, batch=16)) < 1e-6


def settled() -> BatchSize:
    """Make a batch size that was found."""
    size = BatchSize(8)
    size.settled = True
    return size
