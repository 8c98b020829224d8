"""Why are these two pictures alike? The cosine of what a network puts out for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from salience.boxes.torch import TorchBox
from salience.errors import BoxError
from salience.picture import Preparation, read
from salience.runtime import disk_cache
from salience.runtime.outputs import read_output
from salience.types import BlackBox, Finding, GreyBox, Images, Probabilities


class Likeness(nn.Module):
    """A network from images to their likeness to a reference, −1…1.

    >>> Likeness(nn.Flatten(), torch.ones(12), None)(torch.ones(2, 3, 2, 2))
    tensor([[1.0000],
            [1.0000]])
    """

    reference: Tensor

    def __init__(self, network: nn.Module, reference: Float[Tensor, " d"], output: str | None) -> None:
        super().__init__()
        self.network, self.output = network, output
        self.register_buffer("reference", functional.normalize(reference.detach().float(), dim=0))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1"]:
        """Return the cosine."""
        found = read_output(self.network(images), self.output, len(images)).float()
        return functional.normalize(found, dim=1) @ self.reference[:, None]


class LikenessBox(BlackBox):
    """A box whose scores are the cosine of another box's scores of an image and of a reference, and its negative."""

    numbers = True

    def __init__(self, box: BlackBox, reference: Float[Tensor, " d"], sides: tuple[str, str]) -> None:
        self.box, self.reference, self.classes = box, functional.normalize(reference.float(), dim=0), sides
        self.name, self.size, self.channels, self.mean = box.name, box.size, box.channels, box.mean
        self.preparation, self.batch, self.findings = box.preparation, box.batch, box.findings

    @property
    def device(self) -> torch.device:
        """Where images are scored."""
        return self.box.device

    @property
    def fingerprint(self) -> str:
        """That of the box and of the reference."""
        return disk_cache.make_key((self.box.fingerprint, [round(each, 4) for each in self.reference.tolist()]))[:16]

    def __call__(self, images: Images) -> Probabilities:
        """Return the cosine for each image."""
        cosine = functional.normalize(self.box(images).float(), dim=1) @ self.reference[:, None]
        return torch.cat([cosine, -cosine], 1)


def make_alike(box: BlackBox, picture: Any) -> BlackBox:
    """Make the box that says how like another picture an image is; `picture` is whatever `picture.read` takes.

    >>> from salience.boxes import toy
    >>> alike = make_alike(toy.load("colour"), toy.picture())
    >>> alike.classes, alike(toy.picture()[None]).round(decimals=3)
    (('like tensor', 'unlike tensor'), tensor([[ 1., -1.]]))
    """
    other = read(picture)
    image = (box.preparation or Preparation(box.size))(other, box.channels)[0][None].to(box.device)
    plain = box.with_logits() if isinstance(box, GreyBox) else box
    reference = _embed(box, image) if type(box) is TorchBox else plain(image)[0]
    if len(reference) < 2:
        raise BoxError(f"expected an embedding of two numbers or more from {box.name}, got one: likeness needs a direction")
    name = Path(other.name).name
    sides = f"like {name}", f"unlike {name}"
    if type(box) is not TorchBox:
        return LikenessBox(plain, reference, sides)
    alike = Likeness(box.module, reference, box.output)
    made = TorchBox(alike, box.preparation, sides, head="number", name=box.name, channels=box.channels, batch=box.batch)
    made.met, made.input_type = True, box.input_type
    said = f"the cosine of two embeddings of {len(alike.reference)} numbers"
    made.findings = (
        *(each for each in box.findings if each.about not in ("head", "classes")),
        Finding("head", "number", said),
    )
    return made


def _embed(box: TorchBox, image: Images) -> Float[Tensor, " d"]:
    with torch.no_grad():
        return read_output(box.put_out(image), box.output, 1).detach().float()[0]
