"""What a command is given: settings, a client made on first use, a place to print, and the jobs that it waits for."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from warmlane.cli import _show
from warmlane.client import Client
from warmlane.settings import Settings

ClientFactory = Callable[[Settings], Client]


def connect(settings: Settings) -> Client:
    return Client(settings=settings)


@dataclass
class Shell:
    """One run of the command.

    Attributes:
        json: print one JSON document on stdout and nothing for people.
        waiting: ids of jobs that are waited for; told on Ctrl-C, because they go on.
    """

    settings: Settings
    json: bool = False
    connect: ClientFactory = connect
    waiting: list[str] = field(default_factory=list)
    _client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = self.connect(self.settings)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    @property
    def interactive(self) -> bool:
        """Whether somebody looks at stderr, so that progress may be drawn there."""
        return not self.json and sys.stderr.isatty()

    def answer(self, document: Any, for_people: Callable[[], None]) -> None:
        """The command's answer in the form that was asked for."""
        if self.json:
            print(_show.to_json(document))
        else:
            for_people()

    @contextlib.contextmanager
    def awaiting(self, job_id: str) -> Iterator[None]:
        """Waiting for a job. Its id stays noted when Ctrl-C ends the wait."""
        self.waiting.append(job_id)
        try:
            yield
        except Exception:
            self.waiting.remove(job_id)
            raise
        self.waiting.remove(job_id)


def debugging() -> bool:
    """Whether WARMLANE_DEBUG asks for tracebacks."""
    return os.environ.get("WARMLANE_DEBUG", "") not in ("", "0")
