"""The model store through the queue: aliases and deletes on a real fleet, and a fleet whose store is behind a URL."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests import tiny
from tests.fleet import START_S, Fleet
from warmlane import Client
from warmlane.errors import ModelInUse, ModelNotFound, SchemaError

#: Far longer than any job here takes.
LIMIT_S = 30


def test_an_alias_serves_the_version_that_it_means(client: Client) -> None:
    """Set, used, moved and used again: the worker resolves it for each job, and the list shows it."""
    for _ in range(2):
        client.save("aliased", "warmlane:echo").result(timeout=LIMIT_S)
    client.alias("aliased/1", "prod").result(timeout=LIMIT_S)
    assert client.load("aliased@prod").result(timeout=LIMIT_S)["model"] == "aliased/1"
    assert client.predict("aliased@prod", ["a"]).result(timeout=LIMIT_S) == ["a"]
    moved = client.alias("aliased", "prod").result(timeout=LIMIT_S)
    assert moved == {"model": "aliased/2", "alias": "prod", "before": 1}
    assert client.load("aliased@prod").result(timeout=LIMIT_S)["model"] == "aliased/2"
    [info] = [info for info in client.models() if info.name == "aliased"]
    assert (info.versions, info.aliases) == ((1, 2), {"prod": 2})


def test_a_deleted_version_is_gone_from_the_store_the_list_and_memory(client: Client) -> None:
    """It is not warm, not listed and not found any more; what an alias means is refused; numbers go on."""
    for _ in range(2):
        client.save("deleted", "warmlane:echo").result(timeout=LIMIT_S)
    client.load("deleted/2", pin=True).result(timeout=LIMIT_S)
    client.alias("deleted/1", "prod").result(timeout=LIMIT_S)
    with pytest.raises(ModelInUse, match="deleted@prod"):
        client.delete("deleted/1").result(timeout=LIMIT_S)
    report = client.delete("deleted/2").result(timeout=LIMIT_S)
    assert (report["versions"], report["missing"]) == ([2], [])
    [worker] = client.workers()
    assert "deleted/2" not in [warm.model for warm in worker.models]
    assert [info.versions for info in client.models() if info.name == "deleted"] == [(1,)]
    with pytest.raises(ModelNotFound, match="'deleted/2'"):
        client.load("deleted/2").result(timeout=LIMIT_S)
    assert client.save("deleted", "warmlane:echo").result(timeout=LIMIT_S)["model"] == "deleted/3"


def test_a_fleet_serves_from_a_store_behind_a_url() -> None:
    """Save, load through the cache, predict by an alias, delete: as from a directory."""
    with tempfile.TemporaryDirectory(prefix="wl-") as directory:
        home = Path(directory)
        source = tiny.save("text-classification", home / "source")
        with Fleet(home, [home], {"WARMLANE_STORE": f"local://{home}/bucket"}) as fleet, fleet.client() as client:
            fleet.start_worker(ready=False)
            saved = client.save("m", source).result(timeout=START_S)
            assert (saved["model"], (home / "bucket" / "m" / "versions" / "1").exists()) == ("m/1", True)
            client.alias("m", "prod").result(timeout=LIMIT_S)
            assert len(client.predict("m@prod", ["a cat", "a dog"]).result(timeout=LIMIT_S)) == 2
            with pytest.raises(SchemaError):
                client.predict("m@prod", [3])
            client.delete("m").result(timeout=LIMIT_S)
            with pytest.raises(ModelNotFound):
                client.predict("m@prod", ["a cat"]).result(timeout=LIMIT_S)
            assert client.workers()[0].models == ()
