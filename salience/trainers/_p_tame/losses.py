"""What P-TAME's maps are to have little of: area and roughness. After Dabkowski and Gal 2017, as P-TAME's code has it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

Maps = Float[Tensor, "n k y x"]
SLIGHT = 0.0005  # keeps the gradient of a power finite where a map is 0


def area(maps: Maps, power: float) -> Tensor:
    """Return mean (A + 0.0005)^p; p below 1 presses small values to 0 and leaves large ones alone. Plain mean for p = 1."""
    return maps.mean() if power == 1 else (maps + SLIGHT).pow(power).mean()


def variation(maps: Maps, border: float) -> Tensor:
    """Return [Σ (vertical and horizontal steps)² + β Σ (border rows and columns)²] / 2n.

    It is divided by the pictures, not by the maps of each nor by their size, so it grows with the batch where every
    picture has a map for every other's class.
    """
    steps = maps.diff(dim=2).square().sum() + maps.diff(dim=3).square().sum()
    edges = sum(maps[..., at, :].square().sum() + maps[..., :, at].square().sum() for at in (0, -1))
    return (steps + border * edges) / (2 * len(maps))
