"""What tests of several subjects need."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from transformers.utils import hub as transformers_hub

from tests.hub import Hub
from warmlane.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An embedded server for the tests of a file."""
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        server = EmbeddedServer(Path(home))
        server.attach()
        yield server.url
        server.detach()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client library of this process talks to, with an empty cache."""
    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(transformers_hub, "_hf_api", None)  # made once, for the endpoint of then
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        yield server
    finally:
        server.stop()
