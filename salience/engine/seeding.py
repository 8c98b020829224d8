"""Random generators by address: a seed and a name. The process's own generators are never touched."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, *name: object) -> torch.Generator:
    """Return a generator for `seed` and a path of names, e.g. `generator(0, "rise", lot)`.

    Streams of different names are independent. Because a lot of masks has its own address, the masks are the same
    for any batch size, thread count, worker or resume point. Small things are sampled on the CPU and enlarged on the
    device, so they are the same on every device too.

    >>> [torch.randint(100, (3,), generator=generator(0, "rise", lot)).tolist() for lot in (0, 1, 0)]
    [[57, 25, 11], [5, 41, 86], [57, 25, 11]]
    """
    text = "/".join(str(part) for part in (seed, *name))
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(key)
