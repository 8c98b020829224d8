"""A network in a file, run as a whole or in part: its input laid out as it wants it, its parts made at the first call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from salience.boxes._graph.graph import Graph
from salience.picture import Preparation
from salience.runtime.blending import Scaling, to_planes
from salience.runtime.openvino import deal_out, to_rows
from salience.types import Images

Array = Shaped[np.ndarray, "..."]
Part = Callable[..., list[Array]]
COLOURS = (1, 3)


@runtime_checkable
class Network(Protocol):
    """What a kind of files has to offer."""

    graph: Graph
    shape: tuple[int | None, ...]  # of its input; None where it is open
    kind: np.dtype[Any]  # of the numbers that it takes
    backends: tuple[str, ...]  # the faster ways that it knows
    blending: tuple[str, ...]  # the backends in which a part of no inputs takes images, a scale and a shift
    made: dict[tuple[str, ...], Part]  # the parts made so far

    @property
    def digest(self) -> str:
        """A hash of the network, its weights included."""
        ...

    def part(self, inputs: Sequence[str], outputs: Sequence[str], backend: str) -> Part:
        """Return the part of the network between tensors, ready to run on one array an input."""
        ...


def colours_last(shape: Sequence[int | None]) -> bool:
    """Say whether an input is (n h w c)."""
    return len(shape) == 4 and shape[1] not in COLOURS and shape[3] in COLOURS


class Parts:
    """Runs what is asked of a network, for any number of images."""

    def __init__(self, network: Network, preparation: Preparation) -> None:
        self.network, self.preparation = network, preparation
        self.single = False  # whether images are run one by one
        self.single = network.shape[:1] not in ((), (None,)) and not self._takes_many()

    def prepare(self, images: Images) -> Array:
        """Normalise, and lay out as the network takes it."""
        images = images.float()
        scale, shift = (each.to(images) for each in self.scaling)
        ready = torch.addcmul(shift, images, scale)
        last = colours_last(self.network.shape)
        if self.network.shape[3 if last else 1 :][:1] == (1,):
            ready = ready.mean(1, keepdim=True)
        if self.network.kind == np.uint8:
            ready = ready.round()
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
        if self.single and len(given) > 1:
            found = np.concatenate([part(*share)[0] for share in deal_out(given, beside, len(given))])
            return lambda: torch.from_numpy(found)
        pending = part.submit(given, beside=beside)
        return lambda: torch.from_numpy(pending()[0])

    @property
    def scaling(self) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
        """What images are multiplied by, and what is added then; whole numbers from 0 to 255 are not normalised."""
        if self.network.kind == np.uint8:
            return torch.full((3, 1, 1), 255.0), torch.zeros(3, 1, 1)
        return self.preparation.scaling

    def ask(
        self, outputs: Sequence[str], arrays: Sequence[Array], inputs: Sequence[str] = (), backend: str = "exact"
    ) -> list[Array]:
        """Run the part between the inputs (none given: the image) and the outputs."""
        run = self.part(tuple(inputs) or (self.network.graph.image,), outputs, backend)
        if not self.single or len(arrays[0]) == 1:
            return run(*arrays)
        rows = [run(*(each[at : at + 1] for each in arrays)) for at in range(len(arrays[0]))]
        return [np.concatenate(each) for each in zip(*rows, strict=True)]

    def part(self, inputs: tuple[str, ...], outputs: Sequence[str], backend: str) -> Part:
        """Make a part at the first call."""
        key = (backend, *inputs, "to", *outputs)
        if key not in self.network.made:
            self.network.made[key] = self.network.part(inputs, outputs, backend)
        return self.network.made[key]

    def _takes_many(self) -> bool:
        """Say whether a network made for one image answers to two as to each alone."""
        ramp = torch.linspace(0, 1, 3 * self.preparation.size[0] * self.preparation.size[1])
        pair = torch.stack([ramp, ramp.flip(0)]).reshape(2, 3, *self.preparation.size)
        answer = self.network.graph.answer
        try:
            both = self.run(pair, answer)
        except Exception:  # noqa: BLE001  # whatever the library raises, the answer is no
            return False
        singly = torch.cat([self.run(each[None], answer) for each in pair])
        return both.shape == singly.shape and bool((both - singly).abs().max() <= 1e-3 * singly.abs().max())
