"""Where the bytes of a row lie that names them: in itself, in a file, behind a URL. Knows neither sounds nor pictures.

A caller decides what a row says and not what the worker reads: files are read under the worker's source roots only, and
URLs are followed only where the worker's operator allows it (`WARMLANE_URL_INPUTS`).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from warmlane.errors import SchemaError

#: Most bytes of a file or of an answer.
MAX_BYTES = 256 * 1024 * 1024
#: How long a URL may take from the first connection to the last byte, in seconds.
FETCH_S = 30.0
_MAX_REDIRECTS = 5
#: The longest path that any system takes.
_MAX_PATH = 4096
_URL = re.compile(r"https?:", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]++={0,2}+\s*+")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a worker reads for a row.

    Attributes:
        roots: directories whose files a row may name, resolved.
        urls: whether a row may be a URL.
    """

    roots: tuple[Path, ...] = ()
    urls: bool = False

    def read(self, value: str | bytes) -> bytes:
        """The bytes that a row stands for.

        Args:
            value: the bytes; or base64 of them; or the path of a file under the roots; or a URL of http or https.

        Raises:
            SchemaError: it is none of them, or may not be read. Never quotes the row.
        """
        if isinstance(value, bytes):
            return value if _BASE64.fullmatch(value) is None else _from_base64(value) or value
        if _URL.match(value):
            if not self.urls:
                raise SchemaError(
                    "this worker takes no URLs as inputs; send the bytes, or start it with WARMLANE_URL_INPUTS=1",
                    field="inputs",
                )
            return fetch(value)
        file = self._file(value)
        if file is not None:
            return _contents(file)
        found = _from_base64(_DATA_URL.sub("", value, count=1).encode("utf-8", "replace"))
        if found is None:
            raise SchemaError(
                "a str is base64, the path of a file under the worker's source roots, or a URL; this one is none",
                field="inputs",
            )
        return found

    def _file(self, value: str) -> Path | None:
        if not value or len(value) > _MAX_PATH or "\0" in value:
            return None
        try:
            true = Path(value).resolve()
            inside = any(true.is_relative_to(root) for root in self.roots)
            return true if inside and true.is_file() else None
        except (OSError, RuntimeError):  # a name that the file system does not take, a loop of links
            return None


#: Of a worker that reads nothing but what a row itself holds.
NOWHERE = Reach()


def _contents(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise SchemaError(f"a file that a row names cannot be read ({type(exc).__name__})", field="inputs") from exc
    if len(data) > MAX_BYTES:
        raise SchemaError(f"a file that a row names has more than {MAX_BYTES} bytes", field="inputs")
    return data


def _from_base64(text: bytes) -> bytes | None:
    packed = b"".join(text.split())
    try:
        return base64.b64decode(packed, validate=True) or None
    except binascii.Error:
        return None


def fetch(url: str) -> bytes:
    """What a URL of http or https holds, within `FETCH_S` and `MAX_BYTES`.

    A redirect is followed to public addresses and within its host: a stranger's server may not send the worker about
    in its own network.

    Raises:
        SchemaError: it cannot be had.
    """
    deadline = time.monotonic() + FETCH_S
    try:
        place = httpx.URL(url)
        with httpx.Client(timeout=FETCH_S, follow_redirects=False) as client:
            for _ in range(_MAX_REDIRECTS + 1):
                data, onward = _answer(client, place, deadline)
                if onward is None:
                    return data
                if onward.host and onward.host != place.host and not _public(onward.host):
                    raise SchemaError("the URL of a row leads on to a private address", field="inputs")
                place = onward
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
        raise SchemaError(f"the URL of a row cannot be read ({type(exc).__name__})", field="inputs") from exc
    raise SchemaError(f"the URL of a row leads on more than {_MAX_REDIRECTS} times", field="inputs")


def _answer(client: httpx.Client, place: httpx.URL, deadline: float) -> tuple[bytes, httpx.URL | None]:
    """An answer's body, or where it leads on to."""
    if place.scheme not in ("http", "https") or not place.host:
        raise SchemaError("the URL of a row is not one of http or https with a host", field="inputs")
    with client.stream("GET", place) as response:
        if response.has_redirect_location:
            return b"", place.join(response.headers["location"])
        if response.status_code != httpx.codes.OK:
            raise SchemaError(f"the URL of a row answers with status {response.status_code}", field="inputs")
        data = bytearray()
        for piece in response.iter_bytes():
            data += piece
            if len(data) > MAX_BYTES:
                raise SchemaError(f"the URL of a row holds more than {MAX_BYTES} bytes", field="inputs")
            if time.monotonic() > deadline:
                raise SchemaError(f"the URL of a row takes longer than {FETCH_S} s", field="inputs")
    return bytes(data), None


def _public(host: str) -> bool:
    """Whether all addresses of a host are the public network's."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)
