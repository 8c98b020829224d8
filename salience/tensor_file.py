"""A file of arrays with a JSON header, in safetensors: how explanations and explainers are kept, with a digest of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salience import limits
from salience.files import Counted

DIGEST = "digest"
DEEP = 50  # mappings and lists in one another


def write_tensors(arrays: Mapping[str, Tensor], key: str, header: Mapping[str, Any]) -> bytes:
    """Write arrays, and a header under its key, as the bytes of a file.

    >>> len(write_tensors({"map": torch.zeros(2, 2)}, "salience", {"passes": 4})) > 16
    True
    """
    from safetensors.torch import save

    plain = {name: each.detach().cpu().contiguous() for name, each in arrays.items()}
    text = json.dumps(header)
    return save(plain, {key: text, DIGEST: hash_content(plain, text)})


def write_large(
    file: Any,
    arrays: Mapping[str, Tensor],
    key: str,
    header: Mapping[str, Any],
    large: tuple[str, Callable[[Counted], None]],
) -> None:
    """Write what `write_tensors` gives, and one more array of bytes by a function, piece by piece, for it may be large.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_large(file, {"map": torch.zeros(2)}, "salience", {}, ("picture", lambda part: part.write(b"any")))
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "a").write_bytes(file.getvalue())
    ...     read_tensors(Path(folder, "a"), "salience")[1]["picture"]
    tensor([ 97, 110, 121], dtype=torch.uint8)
    """
    content = write_tensors(arrays, key, header)
    begin = 8 + int.from_bytes(content[:8], "little")
    names, before = json.loads(content[8:begin]), len(content) - begin

    def make(total: int, digest: str) -> bytes:
        tensor = {"dtype": "U8", "shape": [total], "data_offsets": [before, before + total]}
        about = names["__metadata__"] | {DIGEST: digest}
        return json.dumps(names | {"__metadata__": about, large[0]: tensor}).encode()

    room = -(-len(make(10**15, "0" * 64)) // 8) * 8  # the header's length stands before that of the array is known
    file.write(room.to_bytes(8, "little") + bytes(room))
    file.write(memoryview(content)[begin:])
    part = Counted(file)
    large[1](part)
    file.seek(8 + room + before)
    pieces = iter(lambda: file.read(2**20), b"")
    digest = hash_content(arrays, names["__metadata__"][key], (large[0], part.total, pieces))
    file.seek(8)
    file.write(make(part.total, digest).ljust(room))


def read_tensors(path: str | Path, key: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and arrays; OSError, ValueError and the like for what is damaged. A file of before has no digest.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "map.safetensors")
    ...     size = file.write_bytes(write_tensors({"map": torch.zeros(2, 2)}, "salience", {"passes": 4}))
    ...     read_tensors(file, "salience")[0]
    {'passes': 4}
    """
    from safetensors import safe_open

    with safe_open(str(limits.expect_file(Path(path))), "pt") as opened:
        about = opened.metadata() or {}
        if key not in about:
            raise ValueError(f"no header {key!r}")
        text = limits.expect_header(about[key])
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # not a mapping
    if DIGEST in about and about[DIGEST] != hash_content(arrays, text):
        raise ValueError("other content than was written")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("a header that is no mapping")  # noqa: TRY004  # it is the file that is wrong, no call
    _expect_depth(header, DEEP)
    return header, arrays


def hash_content(arrays: Mapping[str, Tensor], text: str, large: tuple[str, int, Iterable[bytes]] = ("", 0, ())) -> str:
    """Hash names, types, shapes and bytes of arrays, and a header; one array of bytes may come in pieces.

    >>> hash_content({"map": torch.zeros(2)}, "{}") == hash_content({"map": torch.zeros(2, 1)}, "{}")
    False
    >>> bytes_of = torch.tensor([97, 98], dtype=torch.uint8)
    >>> hash_content({"a": bytes_of}, "{}") == hash_content({}, "{}", ("a", 2, [b"a", b"b"]))
    True
    """
    found = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted([*arrays, *([large[0]] if large[0] else [])]):
        if name == large[0]:
            found.update(repr((name, str(torch.uint8), (large[1],))).encode())
            for piece in large[2]:
                found.update(piece)
            continue
        value = arrays[name].detach().cpu().contiguous()
        found.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _expect_depth(value: Any, room: int) -> None:
    """Expect values that anything can walk through."""
    if room == 0:
        raise ValueError(f"values that lie in one another more than {DEEP} times")
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for each in inner:
        _expect_depth(each, room - 1)
