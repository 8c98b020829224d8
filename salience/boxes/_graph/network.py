"""A network in a file, run as a whole or in part: its input laid out as it wants it, its parts made at the first call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._graph.graph import Graph
from salience.boxes._graph.lots import deal, find_layout, has_rows
from salience.boxes._graph.quantised import Array, Quantisation
from salience.picture import Preparation
from salience.runtime.blending import Scaling, to_planes
from salience.runtime.openvino import to_rows
from salience.types import Images

Part = Callable[..., list[Array]]


@runtime_checkable
class Network(Protocol):
    """What a kind of files has to offer."""

    path: str
    graph: Graph
    outputs: dict[str, str]  # the tensor of each output that depends on the images
    shape: tuple[int | None, ...]  # of its input; None where it is open
    kind: np.dtype[Any]  # of the numbers that it takes
    backends: tuple[str, ...]  # the faster ways that it knows
    blending: tuple[str, ...]  # the backends in which a part of no inputs takes images, a scale and a shift
    made: dict[tuple[str, ...], Part]  # the parts made so far
    whole: bool  # whether a batch must not be dealt out to streams

    @property
    def digest(self) -> str:
        """A hash of the network, its weights included."""
        ...

    def part(self, inputs: Sequence[str], outputs: Sequence[str], backend: str) -> Part:
        """Return the part of the network between tensors, ready to run on one array an input."""
        ...

    def find_quantisation(self, tensor: str) -> Quantisation | None:
        """Find what the numbers of a tensor stand for; None where they stand for themselves."""
        ...


class Parts:
    """Runs what is asked of a network, for any number of images."""

    batch: int | None = None  # the most images that it takes at once

    def __init__(self, network: Network, preparation: Preparation, channels: int = 3) -> None:
        self.network, self.preparation, self.channels = network, preparation, channels
        self.open = len(network.shape) == 4 and find_layout(network.shape).channels is None

    @cached_property
    def lot(self) -> int | None:
        """How many images a network takes that was made for so many and no others; None: any number."""
        fixed = self.network.shape[0] if self.network.shape else None
        found = None if fixed is None or self._takes_any(fixed) else fixed
        self.network.whole = found is not None
        return found

    @property
    def single(self) -> bool:
        """Whether images are run one by one."""
        return 1 in (self.lot, self.batch)

    @property
    def most(self) -> int | None:
        """The most images that are run at once."""
        return min((each for each in (self.lot, self.batch) if each), default=None)

    def take_channels(self, channels: int) -> None:
        """Take images of so many channels, where the file leaves that open; parts made for another number are made anew."""
        if channels == self.channels:
            return
        self.channels = channels
        if self.open:
            first, _, *rest = self.network.shape
            self.network.shape = (first, channels, *rest)
        self.network.made.clear()

    def prepare(self, images: Images) -> Array:
        """Normalise, and lay out as the network takes it."""
        images = images.float()
        scale, shift = (each.to(images) for each in self.scaling)
        ready = torch.addcmul(shift, images, scale)
        if self.channels == 1:
            ready = ready.mean(1, keepdim=True)
        if self.network.kind.kind in "iu":
            ready = ready.round()
        last = find_layout(self.network.shape).last
        laid: Array = (ready.permute(0, 2, 3, 1) if last else ready).contiguous().numpy()
        return laid.astype(self.network.kind, copy=False)

    def run(self, images: Images, tensor: str, backend: str = "exact") -> Tensor:
        """Return one tensor for each image."""
        return self.submit(images, tensor, backend)()

    def submit(self, images: Images, tensor: str, backend: str) -> Callable[[], Tensor]:
        """Submit images; what is returned waits for one tensor for each, where the network runs asynchronously."""
        if backend in self.network.blending:
            return self.submit_scaled(images, self.scaling, tensor, backend)
        found = torch.from_numpy(self.ask([tensor], [self.prepare(images)], backend=backend)[0])
        return lambda: found

    def submit_scaled(
        self, images: Float[Tensor, "n _ h w"], scaling: Scaling, tensor: str, backend: str
    ) -> Callable[[], Tensor]:
        """Submit images; one tensor is computed for each of `images · scale + shift`, which the network makes itself."""
        part: Any = self.part((), [tensor], backend)
        given, beside = to_rows(images), to_planes(scaling)
        if self.lot is None and (self.batch is None or len(given) <= self.batch):
            pending = part.submit(given, beside=beside)
            return lambda: torch.from_numpy(pending()[0])
        found = self._run_scaled(part, given, beside, self.lot)[0]
        return lambda: torch.from_numpy(found)

    def show(self, images: Images, tensors: Sequence[str]) -> list[Tensor]:
        """Return what tensors hold for images, exactly, whatever their form."""
        wanted = list(dict.fromkeys(tensors))
        if "exact" in self.network.blending:
            part = self.part((), wanted, "exact")
            found = self._run_scaled(part, to_rows(images), to_planes(self.scaling), self.lot)
        else:
            found = self.ask(wanted, [self.prepare(images)])
        seen = dict(zip(wanted, found, strict=True))
        return [torch.from_numpy(seen[each]) for each in tensors]

    def read_values(self, images: Images, tensors: Sequence[str]) -> list[Tensor]:
        """Return what tensors stand for, for images."""
        found = self.ask(list(tensors), [self.prepare(images)])
        return [torch.from_numpy(self.read(name, value)) for name, value in zip(tensors, found, strict=True)]

    def read(self, tensor: str, value: Array) -> Array:
        """Return what a tensor stands for."""
        held = self.network.find_quantisation(tensor) if value.dtype.kind in "iu" else None
        return value if held is None else held.read(value)

    def write(self, tensor: str, values: Array, like: Array) -> Array:
        """Return values as a tensor holds them."""
        held = self.network.find_quantisation(tensor) if like.dtype.kind in "iu" else None
        return values.astype(like.dtype, copy=False) if held is None else held.write(values)

    @property
    def scaling(self) -> Scaling:
        """What images are multiplied by, and what is added then; whole numbers from 0 to 255 are not normalised."""
        each = torch.ones(3 if self.channels == 1 else self.channels, 1, 1)
        if self.network.kind.kind not in "iu":
            scale, shift = self.preparation.scaling
            return scale * each, shift * each
        return each * 255, each * (-128 if self.network.kind == np.int8 else 0)

    def ask(
        self, outputs: Sequence[str], arrays: Sequence[Array], inputs: Sequence[str] = (), backend: str = "exact"
    ) -> list[Array]:
        """Run the part between the inputs (none given: the image) and the outputs."""
        most, lot = self.most, self.lot
        run = self.part(tuple(inputs) or (self.network.graph.image,), outputs, backend)
        return deal(run, arrays, [has_rows(each, len(arrays[0])) for each in arrays], most, lot)

    def part(self, inputs: tuple[str, ...], outputs: Sequence[str], backend: str) -> Part:
        """Make a part at the first call."""
        key = (backend, *inputs, "to", *outputs)
        if key not in self.network.made:
            self.network.made[key] = self.network.part(inputs, outputs, backend)
        return self.network.made[key]

    def _run_scaled(self, part: Any, given: Array, beside: Sequence[Array], lot: int | None) -> list[Array]:
        rows = [True, *(len(each) == len(given) > 1 for each in beside)]
        most = min((each for each in (lot, self.batch) if each), default=None)
        return deal(part, [given, *beside], rows, most, lot)

    def _takes_any(self, fixed: int) -> bool:
        """Say whether a network made for so many images answers to two as among as many as it was made for."""
        count = 3 if self.channels == 1 else self.channels
        ramp = torch.linspace(0, 1, count * self.preparation.size[0] * self.preparation.size[1])
        pair = torch.stack([ramp, ramp.flip(0)]).reshape(2, count, *self.preparation.size)
        known = self._answer(pair, fixed)
        try:
            both = self._answer(pair, None)
        except Exception:  # noqa: BLE001  # whatever the library raises, the answer is no
            return False
        return both.shape == known.shape and bool(np.abs(both - known).max() <= 1e-3 * np.abs(known).max())

    def _answer(self, images: Images, lot: int | None) -> Array:
        answer = self.network.graph.answer
        if "exact" in self.network.blending:
            return self._run_scaled(self.part((), [answer], "exact"), to_rows(images), to_planes(self.scaling), lot)[0]
        run = self.part((self.network.graph.image,), [answer], "exact")
        return deal(run, [self.prepare(images)], [True], lot, lot)[0]
