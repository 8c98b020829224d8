"""How the passes of a network in a file run: in a backend, at once or asynchronously."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from salience.boxes._graph.lots import shorten
from salience.boxes._graph.network import Network, Parts
from salience.boxes._stranger import count_shown
from salience.engine.query.precision import list_admitted
from salience.errors import BoxError, SalienceError
from salience.runtime import backends, disk_cache, heads
from salience.runtime.blending import Scaling, make_blending
from salience.runtime.outputs import read_output
from salience.types import BackendBox, BlendingBox, Head, Image, Images, PendingScores, Probabilities, Scale


class FileRuntime(BlendingBox, BackendBox):
    """The passes of a network in a file, whose tensor `answer` is what `head` says."""

    network: Network
    parts: Parts
    answer: str
    head: Head
    answers: Scale = "probability"  # what it gives for what the file puts out
    check: dict[str, Any]  # what `choose_backend` found

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch in the box's backend."""
        return self.submit(images)()

    def submit(self, images: Images) -> PendingScores:
        """Submit a batch; what is returned waits for the scores."""
        return self._wait(lambda: self.parts.submit(images, self.answer, self.backend), len(images))

    def submit_blended(self, image: Image, baseline: Image) -> Callable[..., PendingScores] | None:
        """Return what submits masks for `baseline + mask · (image − baseline)`, where the network itself blends."""
        if self.in_flight == 1:
            return None

        def submit_masks(masks: Tensor, scaling: Scaling) -> PendingScores:
            return self._wait(lambda: self.parts.submit_scaled(masks, scaling, self.answer, self.backend), len(masks))

        return make_blending(image, baseline, self.parts.scaling, submit_masks)

    def _wait(self, submit: Callable[[], Callable[[], Tensor]], count: int) -> PendingScores:
        """Submit, and return what waits for the scores; what the library raises becomes a sentence."""
        self.meet()
        with self._speaking():
            pending = submit()

        def wait() -> Probabilities:
            with self._speaking():
                return self._activate(pending(), count)

        return wait

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except (SalienceError, MemoryError):
            raise
        except Exception as problem:
            shape = f"(n, {count_shown(self)}, {self.size[0]}, {self.size[1]})"
            reason = shorten(problem)
            raise BoxError(
                f"expected {self.name} to take images of shape {shape}, got {reason}: check their size"
            ) from problem

    @property
    def in_flight(self) -> int:
        """How many batches to have under way: two where it computes outside Python, so the next is made meanwhile."""
        return 2 if self.backend in self.network.blending else 1

    def choose_backend(self, images: Images, *, anew: bool = False) -> None:
        """Choose the fastest backend that agrees with exact on `images`, once; `check` says what was found."""
        if self.backend_chosen and not anew:
            return
        self.meet()
        self.backend_chosen = True
        admitted = list_admitted(self, self.network.backends)
        about = disk_cache.make_key(self.fingerprint, admitted, disk_cache.describe_machine(self.device))
        self.backend, self.check = backends.choose_remembered(self._score, images, about, admitted, anew=anew)

    def _score(self, images: Images, backend: str) -> Probabilities:
        return self._activate(self.parts.run(images, self.answer, backend), len(images))

    def _activate(self, raw: Tensor, count: int = 1) -> Probabilities:
        return heads.apply_head(self._lay_out(raw, self.head, count), self.head, self.answers)

    def _lay_out(self, raw: Tensor, head: Head, count: int) -> Probabilities:
        return heads.widen(read_output(raw, None, count), head)
