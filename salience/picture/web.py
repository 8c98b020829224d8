"""Pictures at web addresses: so many bytes, so many seconds, and nothing of an address that may be a secret."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import urlsplit

from salience import limits
from salience.errors import PictureError

AGAIN = 3  # times a server is asked that answers with a fault of its own
REDIRECTS = 5
WEB = re.compile(r"^(https?|ftp|s3|gs):/", re.IGNORECASE)


def is_address(source: Any) -> bool:
    """Say whether a text is the address of something on a network.

    >>> is_address("https://example.org/dog.jpg"), is_address("dog.jpg")
    (True, False)
    """
    return WEB.match(str(source)) is not None


def restore_address(source: Any) -> str:
    """Give back the stroke that an address loses as a path.

    >>> restore_address("https:/example.org/dog.jpg")
    'https://example.org/dog.jpg'
    """
    return re.sub(r"^(\w+):/+", r"\1://", str(source))


def clean_address(address: str) -> str:
    """Leave out what may be a secret: user, password, query and fragment.

    >>> clean_address("https://me:pass@example.org/a/dog.jpg?token=1#x")
    'https://example.org/a/dog.jpg'
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        raise PictureError("expected a web address, got one that is none: check it") from None  # it may hold a token
    port = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{port}{parts.path}"


def fetch(address: str) -> bytes:
    """Fetch a file, within the limits of bytes and of seconds; PictureError for anything else.

    >>> fetch("ftp://example.org/dog.jpg")
    Traceback (most recent call last):
        ...
    salience.errors.PictureError: expected an address of http or https, got ftp://example.org/dog.jpg: download it first
    """
    name = clean_address(address)
    if urlsplit(address).scheme.lower() not in ("http", "https"):
        raise PictureError(f"expected an address of http or https, got {name}: download it first")
    try:
        import httpx
        import stamina
    except ImportError as problem:
        raise PictureError(
            f"expected the package {problem.name} for {name}, got none: pip install 'salience[remote]'"
        ) from None
    end = time.monotonic() + limits.FETCH_SECONDS

    def is_passing(problem: Exception) -> bool:
        answered = isinstance(problem, httpx.HTTPStatusError) and problem.response.status_code >= 500
        refused = isinstance(problem, httpx.UnsupportedProtocol)  # sent to another protocol
        return answered or (isinstance(problem, httpx.TransportError) and not refused)

    try:
        again = stamina.retry(on=is_passing, attempts=AGAIN, timeout=limits.FETCH_SECONDS, wait_initial=0.2)
        return again(_fetch)(address, name, end)
    except httpx.HTTPStatusError as problem:
        raise PictureError(
            f"expected a picture at {name}, got the answer {problem.response.status_code}: check it"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        said = type(problem).__name__  # its message may hold the address
        raise PictureError(f"expected an answer from {name}, got none ({said}): check the address") from None


def _fetch(address: str, name: str, end: float) -> bytes:
    """Ask once, follow redirects, and count what comes while it comes."""
    import httpx

    plain = {"accept-encoding": "identity"}  # what a server packs may unfold to more
    client = httpx.Client(follow_redirects=True, max_redirects=REDIRECTS, timeout=limits.FETCH_SECONDS / 4)
    with client, client.stream("GET", address, headers=plain) as answer:
        answer.raise_for_status()
        content = bytearray()
        for part in answer.iter_raw():  # as it comes: pieces of a size would be waited for
            content += part
            if len(content) > limits.FETCH:
                raise PictureError(f"expected at most {limits.FETCH:,} bytes from {name}, got more: download it first")
            if time.monotonic() > end:
                said = f"{limits.FETCH_SECONDS:g} seconds"
                raise PictureError(f"expected a picture from {name} within {said}, got a part: download it first")
        return bytes(content)
