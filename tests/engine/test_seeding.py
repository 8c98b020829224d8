"""Chance has an address."""

from __future__ import annotations

import torch

from salience.engine import seeding


def test_the_same_address_gives_the_same_numbers() -> None:
    """The generator is made of seed and name alone."""
    one, other = (torch.rand(5, generator=seeding.generator(3, "rise", 1)) for _ in range(2))
    assert torch.equal(one, other)


def test_another_seed_name_or_number_gives_other_numbers() -> None:
    """All parts of the address enter the hash, and a slash between them keeps 1/23 from 12/3."""
    drawn = [
        torch.rand(1, generator=seeding.generator(*where)).item() for where in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 1))
    ]
    drawn += [torch.rand(1, generator=seeding.generator(0, *where)).item() for where in ((1, 23), (12, 3))]
    assert len(set(drawn)) == 6


def test_the_process_keeps_its_own_numbers() -> None:
    """A generator of its own leaves torch's global one where it was."""
    before = torch.get_rng_state()
    torch.rand(100, generator=seeding.generator(0, "x"))
    assert torch.equal(before, torch.get_rng_state())
