"""Rows that name files or URLs: read where the operator allows it, refused without a word about what is there."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from warmlane.errors import SchemaError
from warmlane_workers.tasks import reach
from warmlane_workers.tasks.reach import NOWHERE, Reach

DATA = b"\x00RIFF and more"
URLS = Reach(urls=True)


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        port = self.server.server_address[1]
        onward = {
            "/here": "/data",
            "/loop": "/loop",
            "/private": f"http://localhost:{port}/data",
            "/file": "file:///etc/hostname",
        }
        self.send_response(302 if self.path in onward else 200 if self.path in ("/data", "/trickle") else 404)
        if self.path in onward:
            self.send_header("Location", onward[self.path])
        self.end_headers()
        self.wfile.write(DATA)
        with contextlib.suppress(ConnectionError):  # the reader has had enough
            while self.path == "/trickle":
                self.wfile.write(b"a")
                self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def refused(value: str, by: Reach) -> str:
    with pytest.raises(SchemaError) as caught:
        by.read(value)
    assert value not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "value",
    [
        DATA,
        base64.b64encode(DATA),
        base64.b64encode(DATA).decode(),
        base64.encodebytes(DATA * 20).decode(),
        "data:audio/wav;base64," + base64.b64encode(DATA).decode(),
    ],
    ids=["bytes", "base64 bytes", "base64", "base64 in lines", "data URL"],
)
def test_bytes_and_base64_are_what_they_stand_for(value: str | bytes) -> None:
    """No worker needs to allow anything for them."""
    assert NOWHERE.read(value).startswith(DATA)


def test_a_file_under_the_roots_is_read(tmp_path: Path) -> None:
    """By its path, as the guide does it."""
    (tmp_path / "a.wav").write_bytes(DATA)
    assert Reach((tmp_path,)).read(str(tmp_path / "a.wav")) == DATA


def test_a_path_that_could_be_base64_is_a_path(tmp_path: Path) -> None:
    """A file that is there goes first."""
    (tmp_path / "abcd").write_bytes(DATA)
    name = str(tmp_path / "abcd")
    assert Reach((tmp_path,)).read(name) == DATA


@pytest.mark.parametrize("name", ["outside", "../outside", "link", "absent", "", "a\0b", "x" * 5000])
def test_a_file_elsewhere_is_none(name: str, tmp_path: Path) -> None:
    """Outside, behind a link or absent: the message is the same, so that nobody learns what is there."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside").write_bytes(DATA)
    (inside / "link").symlink_to(tmp_path / "outside")
    path = f"{tmp_path if name == 'outside' else inside}/{name}"
    assert "this one is none" in refused(path, Reach((inside,)))


def test_a_file_is_read_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk holds more than a worker's memory."""
    monkeypatch.setattr(reach, "MAX_BYTES", 4)
    (tmp_path / "a.wav").write_bytes(DATA)
    assert "more than 4 bytes" in refused(str(tmp_path / "a.wav"), Reach((tmp_path,)))


def test_urls_are_off_unless_the_worker_allows_them(site: str) -> None:
    """The message says how to turn them on."""
    assert "WARMLANE_URL_INPUTS=1" in refused(f"{site}/data", NOWHERE)


@pytest.mark.parametrize("path", ["/data", "/here"])
def test_a_url_is_read_and_followed_within_its_host(site: str, path: str) -> None:
    """Redirects are what hubs answer with."""
    assert URLS.read(site + path) == DATA


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/absent", "status 404"),
        ("/private", "private address"),
        ("/file", "http or https"),
        ("/loop", "more than 5 times"),
    ],
)
def test_a_url_that_leads_astray_is_refused(site: str, path: str, said: str) -> None:
    """A stranger's server cannot send the worker about in its own network, nor to its files."""
    assert said in refused(site + path, URLS)


@pytest.mark.parametrize("url", ["https:///x", "http://", "http://[", "http://127.0.0.1:1/x"])
def test_a_url_that_nobody_answers_is_refused(url: str) -> None:
    """Malformed or unreachable, it is the row's fault."""
    refused(url, URLS)


def test_an_answer_is_read_up_to_a_size(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its server says of its length."""
    monkeypatch.setattr(reach, "MAX_BYTES", 4)
    assert "more than 4 bytes" in refused(f"{site}/data", URLS)


def test_an_answer_is_read_for_a_time(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that trickles does not hold a thread for ever."""
    monkeypatch.setattr(reach, "FETCH_S", 0.2)
    assert "takes longer" in refused(f"{site}/trickle", URLS)
