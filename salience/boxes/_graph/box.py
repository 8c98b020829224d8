"""A network in a file as a grey box: scores, and what goes on inside, found in its graph; no gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes import _inspect
from salience.boxes._graph.layers import find_tested_layers
from salience.boxes._graph.lots import find_layout, is_features
from salience.boxes._graph.network import Network, Parts
from salience.boxes._graph.quantised import Array
from salience.boxes._graph.runtime import FileRuntime
from salience.boxes._memory import remember
from salience.boxes._stranger import Stranger, count_shown, make_pictures
from salience.engine.inside.hooks import INPUT, expect_maps, from_feature_maps
from salience.errors import BoxError
from salience.picture import Preparation
from salience.runtime import backends, disk_cache, heads
from salience.types import Features, Finding, GreyBox, Head, Images, LayerInfo, Probabilities

NEAR = 5e-3  # how far from the file's own answer probabilities may be: it may be rounded to eight bits


class FileBox(FileRuntime, Stranger, GreyBox):
    """A network in a file.

    `head`, `output`, `channels` and `batch` say what it takes and puts out, as for a torch box; what is not given, and not
    written in the file, `meet` finds out. A last softmax or sigmoid is cut off and applied here, so that logits are at hand.
    """

    def __init__(
        self,
        network: Network,
        preparation: Preparation,
        classes: Sequence[str] | None = None,
        *,
        head: Head | None = None,
        name: str = "",
        backend: str = "auto",
        channels: int | None = None,
        output: str | None = None,
        batch: int | None = None,
        published: Mapping[str, str] | None = None,
    ) -> None:
        heads.expect_head(head or "softmax")
        named = {"head": head, "channels": channels, "output": output, "batch": batch}
        self.given = frozenset(key for key, value in named.items() if value is not None)
        self.published = {key: value for key, value in (published or {}).items() if key not in self.given}
        self.backend = backends.resolve_backend(backend, (*network.backends, "exact"))
        self.automatic = backend == "auto" and bool(network.backends)
        self.backend_chosen = not self.automatic
        self.network, self.name, self.size, self.output = network, name, preparation.size, output
        self.parts = Parts(network, preparation, channels or find_layout(network.shape).channels or 3)
        self.batch, self.met = batch, False
        self.module: Any = network
        self.input_type: torch.dtype | None = None  # the file says which
        self.check = {}
        self.answer, self.head = network.graph.answer, head or "softmax"
        self._layer_info: tuple[LayerInfo, dict[str, str]] | None = None
        self._before: tuple[str, Tensor, list[Array]] | None = (
            None  # what `forward_from` ran last: layer, image, values there
        )
        self._classes = None if classes is None else tuple(classes)

    @property
    def preparation(self) -> Preparation:
        """What is done to a photograph first."""
        return self.parts.preparation

    @preparation.setter
    def preparation(self, preparation: Preparation) -> None:
        self.parts.preparation = preparation

    @property
    def channels(self) -> int:
        """How many channels its network takes."""
        return self.parts.channels

    @channels.setter
    def channels(self, channels: int) -> None:
        self.parts.take_channels(channels)

    @property
    def batch(self) -> int | None:
        """The most images that it takes at once; None: any number."""
        return self.parts.batch

    @batch.setter
    def batch(self, batch: int | None) -> None:
        self.parts.batch = batch

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]  # it follows the preparation
        """The mean colour of its data; without a normalisation black is not the mean."""
        mean, count = self.preparation.mean, count_shown(self)
        mean = mean if len(mean) == count else mean[:1] * count
        return mean if any(mean) else (0.5,) * count

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # they are counted when it is met
        """The name of each class; numbered where nobody gave names."""
        if self._classes is None:
            self.meet()
        return self._classes or ()

    def name_published(self, names: Sequence[str], source: str) -> None:
        """Take names of classes from somebody who published them."""
        self._classes, self.published = tuple(names), self.published | {"classes": source}

    def put_out(self, images: Images) -> dict[str, Tensor]:
        """Run the file on images in 0…1 and return all that it puts out, by name."""
        return dict(zip(self.network.outputs, self.parts.show(images, list(self.network.outputs.values())), strict=True))

    def meet(self) -> None:
        """Find out what the file takes and puts out, once."""
        if self.met:
            return
        self.met = True
        try:
            asked = self.batch
            _inspect.meet(self, self._make_key())
            self.batch = self.batch or asked
            outputs = self.network.outputs
            self.answer = outputs[self.output or next(iter(outputs))]
            self.network.graph = replace(self.network.graph, answer=self.answer)
            self._read_head()
        except BaseException:
            self.met = False
            raise

    def _make_key(self) -> str:
        about = (self.network.digest, self.preparation, self.channels, self.head, self.output, self.batch, self.class_count)
        return disk_cache.make_key(about, sorted(self.given), sorted(self.published.items()))

    def _read_head(self) -> None:
        """Take what goes into a last activation as the answer, where that activation makes the same numbers of it here."""
        graph = self.network.graph
        found = None if "head" in self.given else graph.find_activation()
        if found is not None:
            picture = make_pictures(self.size, count_shown(self))[:1]
            whole, before = self.parts.show(picture, (self.answer, found[0]))
            head: Head = "binary" if whole.numel() == 1 else found[1]
            if before.numel() == whole.numel() and _agree(self._activate_as(before, head), self._activate(whole)):
                self.answer, self.head = found[0], head
                what = heads.describe_head(head, whole.numel())
                said = Finding("head", head, f"{head}: {what}, before the last activation of the graph")
                self.findings = tuple(said if each.about == "head" else each for each in self.findings)

    def _activate_as(self, raw: Tensor, head: Head) -> Probabilities:
        return heads.apply_head(self._lay_out(raw, head, 1), head, "probability")

    @property
    def fingerprint(self) -> str:
        """A hash of the file, the head and the preprocessing."""
        self.meet()
        head = self.head if self.answers == "probability" else "none"
        about = (self.network.digest, head, self.answer, replace(self.preparation, source=""))
        return disk_cache.make_key(about)[:16]

    def layer_info(self) -> LayerInfo:
        """Find the end of each block, and the last feature maps."""
        return self._find_layers()[0]

    def layers(self) -> tuple[str, ...]:
        """Name the end of each block; for tokens, what goes into the attention of four blocks evenly spread."""
        return self.layer_info().blocks

    def with_logits(self) -> FileBox:
        """Give the same box without its last activation: it answers with logits, in the backend that was chosen."""
        self.meet()
        box = copy(self)
        box.answers, box.backend_chosen = "logit", True
        return box

    def activations(self, images: Images, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of the named layers (tensors of the file, or nodes) as feature maps (n c y x)."""
        tensors = list(dict.fromkeys(self._tensor(layer) for layer in layers))
        with self._speaking():
            found = dict(zip(tensors, self.parts.read_values(images, tensors), strict=True))
        return {layer: expect_maps(layer, found[self._tensor(layer)], self.size).float() for layer in layers}

    def forward_from(self, image: Float[Tensor, "1 _ h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once."""
        at, most = self._tensor(layer), self.parts.most
        if most and len(features) > most:
            return torch.cat([self.forward_from(image, layer, each) for each in features.split(most)])
        with self._speaking():
            return self._activate(torch.from_numpy(self._run_from(image, at, features)), len(features))

    def _run_from(self, image: Float[Tensor, "1 _ h w"], at: str, features: Features) -> Array:
        beside = self.network.graph.list_beside(at)
        if self._before is None or self._before[0] != at or not torch.equal(self._before[1], image):
            self._before = at, image.clone(), self.parts.ask((at, *beside), [self.parts.prepare(image)])
        held = self._before[2][0]
        whole = torch.from_numpy(self.parts.read(at, held))
        changed = from_feature_maps(features, whole, self.size).to(whole).contiguous().numpy()
        passed = self._repeat(image, beside, self._before[2][1:], len(features))
        return self.parts.ask([self.answer], [self.parts.write(at, changed, held), *passed], (at, *beside))[0]

    def _repeat(self, image: Images, beside: Sequence[str], carried: Sequence[Array], count: int) -> list[Array]:
        """Give what goes past a layer for one image to as many as replace it."""
        of_one = [is_features(each) and len(each) == 1 for each in carried]
        passed = [np.repeat(each, count, 0) if one else each for each, one in zip(carried, of_one, strict=True)]
        if count > 1 and not all(of_one) and not self.parts.lot:  # shapes and the like speak of the number of images
            many = self.parts.ask(beside, [self.parts.prepare(image.expand(count, -1, -1, -1))])
            passed = [mine if one else other for mine, other, one in zip(passed, many, of_one, strict=True)]
        return passed

    def _find_layers(self) -> tuple[LayerInfo, dict[str, str]]:
        if self._layer_info is None:
            self.meet()
            with self._speaking():
                self._layer_info = remember(
                    self._make_key(),
                    "layers",
                    lambda: find_tested_layers(self, self.parts),
                    lambda result: [asdict(result[0]), result[1]],
                    lambda plain: (LayerInfo.of(plain[0]), dict(plain[1])),
                )
        return self._layer_info

    def _tensor(self, layer: str) -> str:
        """Return the tensor of a layer; `layer:in` is what goes into it, before a normalisation."""
        graph = self.network.graph
        if not layer.endswith(INPUT) or layer in graph.maker:
            return graph.find_tensor(layer)
        inner = graph.find_tensor(layer.removesuffix(INPUT))
        before = self._find_layers()[1].get(inner) or next(iter(graph.data.get(inner, ())), None)
        if before is None:
            raise BoxError(f"expected a layer that takes something in, got {layer!r}: choose another layer")
        return before

    def __repr__(self) -> str:
        return f"<box {self.name}: {len(self._classes or ())} classes, {self.preparation}, backend {self.backend}>"


def _agree(one: Probabilities, other: Probabilities) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= NEAR)
