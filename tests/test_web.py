"""Pictures at web addresses, from a server of this machine."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image as pil

from salience import limits
from salience.cli import main
from salience.errors import PictureError
from salience.picture import read

pytest.importorskip("httpx")
pytest.importorskip("stamina")
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
ASKED: list[str] = []


class Answers(BaseHTTPRequestHandler):
    """One path for each way to answer."""

    def do_GET(self) -> None:  # its name there
        """Answer."""
        path = self.path.partition("?")[0].lstrip("/")
        ASKED.append(path)
        moved = {"moved": "/dog.png", "round": "/round", "file": "file:///etc/passwd", "ftp": "ftp://127.0.0.1/a"}
        code = (
            302
            if path in moved
            else 404
            if path == "none"
            else 500
            if path == "broken" or (ASKED.count(path) < 3 and path == "shy")
            else 200
        )
        self.send_response(code)
        if path in moved:
            self.send_header("Location", moved[path])
        self.end_headers()
        if code == 200:
            self.answer(path)

    def answer(self, path: str) -> None:
        """Send a picture, or what never ends."""
        while path in ("endless", "slow"):
            try:
                self.wfile.write(bytes(10_000 if path == "endless" else 1))
            except OSError:
                return
            time.sleep(0.0 if path == "endless" else 0.05)
        file = io.BytesIO()
        pil.fromarray(PIXELS).save(file, "PNG")
        self.wfile.write(b"<html>log in</html>" if path == "page" else file.getvalue())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Serve."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.mark.parametrize("path", ["dog.png", "moved", "shy"])
def test_a_picture_at_an_address_is_read(path: str, server: str) -> None:
    """Also one that has moved, and from a server that fails twice; its name has no secret."""
    picture = read(server.replace("//", "//me:word@") + f"/{path}?token=secret#part")
    assert np.array_equal(np.asarray(picture.pixels), PIXELS)
    assert picture.name == f"{server}/{path}"
    assert picture.encoded.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("none", "expected a picture at http://127.0.0.1:[0-9]*/none, got the answer 404: check it"),
        ("broken", "got the answer 500: check it"),
        ("round", r"got none \(TooManyRedirects\)"),
        ("file", r"got none \(UnsupportedProtocol\)"),
        ("ftp", r"got none \(UnsupportedProtocol\)"),
        ("page", "expected a picture in http://.*/page, got text"),
        ("endless", "expected at most 100,000 bytes from http://.*/endless, got more: download it first"),
        ("slow", "expected a picture from http://.*/slow within 1 seconds, got a part: download it first"),
    ],
)
def test_what_is_no_picture_or_does_not_end_is_one_sentence(
    path: str, text: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the query, which may hold a token."""
    monkeypatch.setattr(limits, "FETCH", 100_000)
    monkeypatch.setattr(limits, "FETCH_SECONDS", 1.0)
    with pytest.raises(PictureError, match=text) as caught:
        read(f"{server}/{path}?token=secret")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/a?k=secret", "http://[::1/a?k=secret", "https:///a?k=secret", "s3://b/c"]
)
def test_an_address_that_leads_nowhere_is_one_sentence(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody there, nonsense, another protocol."""
    monkeypatch.setattr(limits, "FETCH_SECONDS", 1.0)
    with pytest.raises(PictureError, match="expected an? .* got") as caught:
        read(address)
    assert "secret" not in str(caught.value)


def test_the_command_line_fetches_once(server: str, tmp_path: Path) -> None:
    """And names its files after the address."""
    ASKED.clear()
    words = ["--box", "toy:colour", "--method", "gradient", "--out", str(tmp_path)]
    assert main(["explain", f"{server}/dog.png?token=secret", *words]) == 0
    assert ASKED == ["dog.png"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"dog.gradient.{end}" for end in ("json", "png", "salience")]
    assert all(b"secret" not in each.read_bytes() for each in tmp_path.iterdir())


def test_without_httpx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence."""
    import sys

    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(PictureError, match=r"expected the package httpx .* pip install 'salience\[remote\]'"):
        read("https://example.org/dog.jpg")
