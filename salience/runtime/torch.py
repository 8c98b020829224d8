"""How a torch box's passes run: in a backend, at once or asynchronously."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.engine.query import lots, precision, torch_threads
from salience.engine.training.modes import evaluating
from salience.picture import Preparation
from salience.runtime import backends, heads
from salience.runtime.blending import Scaling, make_blending
from salience.runtime.compiled import identify, submit
from salience.runtime.module import find_weight_dtype, run_eagerly
from salience.runtime.outputs import read_output
from salience.types import BackendBox, BlendingBox, Head, Image, Images, PendingScores, Probabilities, Scale

Part = TypeVar("Part")


class TorchRuntime(BlendingBox, BackendBox):
    """The passes of a module that takes prepared images and gives what `head` says.

    >>> from salience.boxes import toy
    >>> box = toy.load("colour", backend="torch channels-last")
    >>> box(toy.picture()[None]).argmax(1)
    tensor([0])
    """

    module: nn.Module
    preparation: Preparation
    head: Head
    output: str | None = None  # the one that has the scores; None: where they usually are
    answers: Scale = "probability"  # what it gives for what the module puts out
    input_type: torch.dtype | None = None  # of what the module takes; None: that of its first weights

    @property
    def device(self) -> torch.device:
        """Where the module's weights are now."""
        first = next(self.module.parameters(), next(self.module.buffers(), None))
        return torch.device("cpu") if first is None else first.device

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch in the box's backend."""
        self.check_weights()
        return self.submit(images)()

    def check_weights(self) -> None:
        """Leave a compiled backend once weights were written to; checking takes too long to do it for every batch."""
        self.backend = backends.check_compiled(self.backend, self.module)

    def submit(self, images: Images) -> PendingScores:
        """Submit a batch; until what is returned has been waited for, `images` must stay as they are."""
        return self._submit(images, self.backend)

    def submit_blended(self, image: Image, baseline: Image) -> Callable[..., PendingScores] | None:
        """Return what submits masks for `baseline + mask · (image − baseline)`, where the network itself blends."""
        backend = self.backend
        if backend not in backends.OPENVINO or tuple(image.shape[-2:]) != self.size or self.batch:
            return None
        return make_blending(image, baseline, self.preparation.scaling, partial(self._submit_compiled, backend))

    @property
    def in_flight(self) -> int:
        """How many batches to have under way: two where it computes outside Python, so the next is made meanwhile."""
        return 2 if self.backend in backends.OPENVINO or self.device.type != "cpu" else 1

    def choose_backend(self, images: Images, *, anew: bool = False) -> None:
        """Choose the fastest backend that agrees with exact on `images`, once; `check` says what was found."""
        if self.backend_chosen and not anew:
            return
        self.backend_chosen = True
        admitted = precision.list_admitted(self, backends.list_backends(self.device))
        about = identify(self) + (self.precision or "")
        self.backend, self.check = backends.choose_remembered(self._score, images, about, admitted, anew=anew)

    def _score(self, images: Images, backend: str) -> Probabilities:
        return self._submit(images, backend)()

    def _submit(self, images: Images, backend: str) -> PendingScores:
        if backend in backends.OPENVINO and tuple(images.shape[-2:]) == self.size:  # images of other sizes: uncompiled
            pending = [
                self._submit_compiled(backend, each, self.preparation.scaling)
                for each in images.split(self.batch or len(images))
            ]
            return pending[0] if len(pending) == 1 else lambda: torch.cat([each() for each in pending])
        with torch.no_grad():
            scores = self._activate(self._run(images, backend))
        return lambda: scores

    def _submit_compiled(self, backend: str, images: Float[Tensor, "n _ h w"], scaling: Scaling) -> PendingScores:
        pending = submit(self, backend, images, scaling)
        return lambda: self._activate(pending())

    def normalise(self, images: Images) -> Tensor:
        """Normalise images as the module wants them: a new tensor, so an in-place first layer changes no other."""
        scale, shift = (each.to(images) for each in self.preparation.scaling)
        return self.to_input(torch.addcmul(shift, images, scale))

    def to_input(self, normal: Float[Tensor, "n c h w"]) -> Tensor:
        """Give normalised images the channels and the type that the module wants."""
        return (normal.mean(1, keepdim=True) if self.channels == 1 else normal).to(
            self.input_type or find_weight_dtype(self.module)
        )

    def put_out(self, images: Images) -> Any:
        """Run the module on images in 0…1 and return all that it puts out, with gradients where it has some."""
        with evaluating(self.module), run_eagerly(self.module):
            try:
                with torch.inference_mode(False), torch.enable_grad():
                    return self.module(self.normalise(images.to(self.device).detach().clone().requires_grad_()))
            except Exception:  # noqa: BLE001  # whatever it raises: without gradients it may do
                with torch.no_grad():
                    return self.module(self.normalise(images.to(self.device)))

    def run_parts(
        self, work: Callable[[slice], Part], count: int, *, lot: int = lots.LOT, backend: str = "exact"
    ) -> list[Part]:
        """Let work be done part by part: as many images as the box takes at once, or lots side by side."""
        in_lots = backend == "exact" and lots.find_lot(self) > 1
        size = min(lot if in_lots else count, self.batch or count) or 1
        parts = [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]
        if not in_lots:
            return [work(part) for part in parts]
        torch_threads.use_one()
        with evaluating(self.module):
            return lots.run_lots(self.module, work, parts)

    def _run(self, images: Images, backend: str) -> Tensor:
        raw = self.run_parts(lambda part: self._run_part(images[part], backend), len(images), backend=backend)
        return raw[0] if len(raw) == 1 else torch.cat(raw)

    def _run_part(self, images: Images, backend: str) -> Tensor:
        ready = self.normalise(images)
        if backend != "exact":
            ready = ready.contiguous(memory_format=torch.channels_last)
        run = self._compiled_by_torch if backend.startswith(backends.TORCH_COMPILE) else self.module
        with evaluating(self.module), backends.autocast(backend, self.device):
            return read_output(run(ready), self.output, len(images))

    @cached_property
    def _compiled_by_torch(self) -> Callable[[Tensor], Any]:
        return torch.compile(self.module)

    def _activate(self, raw: Tensor) -> Probabilities:
        return heads.apply_head(heads.widen(raw, self.head), self.head, self.answers)
