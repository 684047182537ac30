"""A model hub on loopback: a real HTTP server that speaks as much of the hub's protocol as a snapshot download needs.

    GET  /api/models/<repo>[/revision/<revision>]      which commit a revision is
    GET  /api/models/<repo>/tree/<commit>              which files it has
    HEAD, GET /<repo>/resolve/<commit>/<path>          a file, with its ETag, commit and length

A repository is a directory's files, put under a commit of their own; branches move from commit to commit. What goes
wrong is scripted: `hub.script(r"GET .*safetensors", Fault(status=503), times=2)`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_REPO = r"(?P<repo>[^/]+(?:/[^/]+)??)"
_INFO = re.compile(rf"/api/models/{_REPO}(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)/?")
_RANGE = re.compile(r"bytes=(\d+)-")
_FILE = re.compile(rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class Repository:
    """Commits by their 40 hexadecimal digits, and the branches that point to them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def resolve(self, revision: str | None) -> str | None:
        revision = revision or "main"
        return revision if revision in self.commits else self.branches.get(revision)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with an answer.

    Attributes:
        status: another status, with an empty body.
        headers: sent with it.
        drop_after: the connection ends after so many bytes of the body, which was announced whole.
        reset: it ends as that of a machine that went down does.
        wrong: the body has the right length and other bytes.
        silent: nothing is ever answered.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    reset: bool = False
    wrong: bool = False
    silent: bool = False


#: An error of the hub's own after which huggingface_hub does not try again for half a minute.
BROKEN = Fault(507, {"X-Error-Message": "the hub has a bad day"})


class Hub:
    """Serves from construction until `stop`; `start` serves again, on the same port.

    Attributes:
        paths: the files that were fetched, `repo/path`, in order of time.
        requests: everything that was asked, `GET /path`, with ` bytes=…` behind it where only a part was.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.paths: deque[str] = deque()
        self.requests: deque[str] = deque()
        self._script: list[tuple[re.Pattern[str], Fault, list[None] | None]] = []
        self._scripting = threading.Lock()
        self._released = threading.Event()
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def push(self, repo: str, directory: Path, branch: str = "main") -> str:
        """Put a directory's files on a branch; returns the commit."""
        files = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repository = self.repositories.setdefault(repo, Repository())
        repository.commits[commit] = files
        repository.branches[branch] = commit
        return commit

    def script(self, pattern: str, fault: Fault, times: int | None = 1) -> None:
        """Let requests go wrong whose `METHOD /path` has the pattern: the next ones, or all with `times=None`."""
        with self._scripting:
            self._script.append((re.compile(pattern), fault, None if times is None else [None] * times))

    def calm(self) -> None:
        """Nothing goes wrong any more; what was not answered is let go."""
        with self._scripting:
            self._script.clear()
        self._released.set()
        self._released = threading.Event()

    def fault(self, request: str) -> Fault | None:
        """What is to go wrong with a request."""
        with self._scripting:
            for pattern, fault, left in self._script:
                if left != [] and pattern.search(request):
                    if left:
                        left.pop()
                    return fault
        return None

    def hold(self) -> None:
        """Wait until the hub is calm, or stops."""
        self._released.wait()

    def start(self) -> None:
        hub = self
        self._released = threading.Event()

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more: who connects is refused."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Stopped for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.0"  # a connection a request: none is left open when the server stops

    fault: Fault | None = None

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        part = self.headers.get("Range")
        self.hub.requests.append(f"{self.command} {path}" + (f" {part}" if part else ""))
        self.fault = self.hub.fault(f"{self.command} {path}")
        if self.fault and self.fault.silent:
            return self.hub.hold()
        if self.fault and self.fault.status:
            return self._send(self.fault.status, b"", dict(self.fault.headers))
        if match := _FILE.fullmatch(path):
            return self._file(**match.groupdict())
        if match := _TREE.fullmatch(path):
            return self._tree(**match.groupdict())
        if match := _INFO.fullmatch(path):
            return self._info(**match.groupdict())
        return self._send(404, b"not found")

    do_HEAD = do_GET

    def _find(self, repo: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        """The commit and its files; None when an error has been sent."""
        repository = self.hub.repositories.get(repo)
        if repository is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif repository.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif (commit := repository.resolve(revision)) is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            return commit, repository.commits[commit]
        return None

    def _info(self, repo: str, revision: str | None) -> None:
        if found := self._find(repo, revision):
            commit, files = found
            self._json({"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]})

    def _tree(self, repo: str, revision: str) -> None:
        if found := self._find(repo, revision):
            self._json([_entry(name, data) for name, data in found[1].items()])

    def _file(self, repo: str, revision: str, path: str) -> None:
        if found := self._find(repo, revision):
            commit, files = found
            if path not in files:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            if self.command == "GET":
                self.hub.paths.append(f"{repo}/{path}")
            data = files[path]
            headers = {"ETag": f'"{_entry(path, data)["lfs"]["oid"]}"', "X-Repo-Commit": commit}
            match = _RANGE.fullmatch(self.headers.get("Range") or "")
            if match is None:
                return self._send(200, data, headers)
            first = int(match[1])
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            return self._send(206, data[first:], headers)
        return None

    def _json(self, body: Any) -> None:
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self._write(body)

    def _write(self, body: bytes) -> None:
        fault = self.fault or Fault()
        if fault.wrong:
            body = bytes(byte ^ 1 for byte in body)
        with contextlib.suppress(ConnectionError):  # whoever asked has gone
            self.wfile.write(body[: fault.drop_after])
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def log_message(self, format: str, *args: Any) -> None:
        """Tests have their own record."""


def _entry(name: str, data: bytes) -> dict[str, Any]:
    """A file in a listing, as one of the large file store."""
    digest = hashlib.sha256(data).hexdigest()
    lfs = {"oid": digest, "size": len(data), "pointerSize": 128}
    return {"type": "file", "path": name, "size": len(data), "oid": digest[:40], "lfs": lfs}
