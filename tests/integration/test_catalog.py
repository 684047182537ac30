"""The alias and delete jobs, and what callers read of the model store in Redis: on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stored import echo
from warmlane.embedded import EmbeddedServer
from warmlane.errors import ModelInUse, ModelNotFound
from warmlane.jobs import AliasJob, DeleteJob, SaveJob, UnloadJob
from warmlane.keys import Keys
from warmlane.model import ModelRef
from warmlane.registry import PublishAlias, PublishModel, ReadModel, ReadModels
from warmlane.results import ModelInfo, State
from warmlane.store import RedisStore, connect
from warmlane_workers.catalog import Catalog
from warmlane_workers.context import JobContext
from warmlane_workers.management import Management
from warmlane_workers.modelstore import ModelStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path_factory.mktemp("home"))
    server.attach()
    yield server
    server.detach()


@pytest.fixture
def records(server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[RedisStore]:
    client = connect(server.url, retry_s=1)
    yield RedisStore(client, Keys(request.node.name), server.url)
    client.close()
    client.connection_pool.disconnect()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


class Context(JobContext):
    """A job that reports to nobody."""

    def report(self, fraction: float, phase: str, state: State = State.RUNNING) -> None:
        pass


class Lane:
    """What a worker has: a catalog, the save job, and a memory from which models are unloaded."""

    def __init__(self, records: RedisStore, store: ModelStore) -> None:
        self.records = records
        self.store = store
        self.unloaded: list[str] = []
        self.catalog = Catalog(records, store, self._unload)
        self.management = Management(store, self.catalog.announce, (Path("/"),), trust_remote_code=False)

    def _unload(self, job: UnloadJob, context: JobContext) -> dict[str, Any]:
        self.unloaded.append(job.model)
        return {"bytes": 7, "missing": []}

    def context(self, attempt: int = 1) -> Context:
        return Context(self.records, "1" * 32, attempt)

    def publish(self, name: str) -> int:
        version, artifact = self.store.publish(name, echo)
        self.catalog.announce(name, version, artifact)
        return version

    def alias(self, model: str, alias: str) -> dict[str, Any]:
        return self.catalog.alias(AliasJob(model=model, alias=alias), self.context())

    def delete(self, model: str, attempt: int = 1) -> dict[str, Any]:
        return self.catalog.delete(DeleteJob(model=model), self.context(attempt))

    def told(self) -> list[tuple[str, tuple[int, ...], dict[str, int]]]:
        """What callers read: names, versions, aliases."""
        return [(info.name, info.versions, dict(info.aliases)) for info in self.records.run(ReadModels())]


@pytest.fixture
def lane(records: RedisStore, store: ModelStore) -> Lane:
    return Lane(records, store)


def test_an_alias_is_set_moved_and_told(lane: Lane) -> None:
    """The report names the version and the one before; callers read where the alias points."""
    lane.publish("a")
    lane.publish("a")
    assert lane.alias("a/1", "prod") == {"model": "a/1", "alias": "prod", "before": None}
    assert lane.told() == [("a", (1, 2), {"prod": 1})]
    assert lane.alias("a", "prod") == {"model": "a/2", "alias": "prod", "before": 1}
    assert lane.told() == [("a", (1, 2), {"prod": 2})]


def test_a_caller_reads_the_description_that_an_alias_means(lane: Lane) -> None:
    """`name@alias` gives the version's description, an alias that is none gives nothing."""
    for version, task in ((1, "fill-mask"), (2, "summarization")):
        lane.records.run(PublishModel(ModelInfo("a", (version,), task, None, 0, None), version))
    lane.records.run(PublishAlias("a", "prod", 1))
    found = {alias: lane.records.run(ReadModel("a", None, alias))[0] for alias in (None, "prod", "absent")}
    assert {alias: info and info.task for alias, info in found.items()} == {
        None: "summarization",
        "prod": "fill-mask",
        "absent": None,
    }


def test_a_deleted_version_is_taken_off_the_list_and_out_of_memory(lane: Lane) -> None:
    """A delete of the newest: the name means the one before, every worker lets go, and no other name is touched."""
    lane.publish("a")
    lane.publish("a")
    lane.publish("ab")
    assert lane.delete("a/2") == {"model": "a/2", "versions": [2], "aliases": [], "bytes": 7, "missing": []}
    assert lane.told() == [("a", (1,), {}), ("ab", (1,), {})]
    assert lane.unloaded == ["a/2"]
    assert lane.records.run(ReadModel("a"))[0] is not None
    assert lane.records.run(ReadModel("a", 2))[0] is None


def test_a_deleted_model_takes_all_along(lane: Lane) -> None:
    """`delete name` leaves neither versions nor aliases of it on the list."""
    lane.publish("a")
    lane.publish("a")
    lane.alias("a/1", "prod")
    lane.publish("b")
    report = lane.delete("a")
    assert (report["versions"], report["aliases"]) == ([1, 2], ["prod"])
    assert (lane.told(), lane.unloaded) == ([("b", (1,), {})], ["a"])
    assert lane.records.run(ReadModel("a", None, "prod"))[0] is None


def test_a_deleted_alias_unloads_nothing(lane: Lane) -> None:
    """`delete name@alias` forgets the alias and leaves the version, warm as it is."""
    lane.publish("a")
    lane.alias("a", "old")
    report = lane.delete("a@old")
    assert (report["versions"], report["aliases"], report["bytes"]) == ([], ["old"], 0)
    assert (lane.told(), lane.unloaded) == ([("a", (1,), {})], [])


def test_a_refused_delete_changes_nothing(lane: Lane) -> None:
    """What an alias means, and what is not there, is neither taken off the list nor unloaded."""
    lane.publish("a")
    lane.alias("a", "prod")
    with pytest.raises(ModelInUse):
        lane.delete("a/1")
    with pytest.raises(ModelNotFound):
        lane.delete("a/2")
    assert (lane.told(), lane.unloaded) == ([("a", (1,), {"prod": 1})], [])


def test_a_delete_that_lost_its_worker_is_finished_by_the_next(lane: Lane) -> None:
    """The first attempt died after the store and before the list: the second finishes it and reports the same."""
    lane.publish("a")
    lane.store.delete(ModelRef("a", 1))
    assert lane.told() == [("a", (1,), {})]
    assert lane.delete("a/1", attempt=2)["versions"] == [1]
    assert (lane.told(), lane.unloaded) == ([], ["a/1"])


def test_a_save_that_was_deleted_at_once_is_not_announced(lane: Lane) -> None:
    """A version that goes between its publication and its announcement does not come on the list."""
    version, artifact = lane.store.publish("a", echo)
    lane.store.delete(ModelRef("a", version))
    lane.catalog.announce("a", version, artifact)
    assert lane.told() == []


def test_a_fresh_server_is_told_of_an_old_store(lane: Lane) -> None:
    """A worker's start announces every readable version and every alias."""
    for name in ("a", "a", "b"):
        lane.store.publish(name, echo)
    lane.store.set_alias(ModelRef("a", 1), "prod")
    with lane.store.edit("b", 1) as directory:
        (directory / "MLmodel").write_text("")
    lane.catalog.announce_all()
    assert lane.told() == [("a", (1, 2), {"prod": 1})]


def test_a_server_that_missed_changes_is_told_at_the_next_start(lane: Lane) -> None:
    """What was deleted and moved in the store while the server was away is put right."""
    for name in ("a", "a", "b"):
        lane.publish(name)
    lane.alias("a/1", "old")
    lane.alias("a/1", "prod")
    lane.store.remove_alias("a", "old")
    lane.store.set_alias(ModelRef("a", 2), "prod")
    lane.store.delete(ModelRef("a", 1))
    lane.store.delete(ModelRef("b"))
    lane.catalog.announce_all()
    assert lane.told() == [("a", (2,), {"prod": 2})]


def test_an_empty_store_takes_nothing_off_the_list(lane: Lane, tmp_path: Path) -> None:
    """A worker whose store is not mounted tells nobody that the models are gone."""
    lane.publish("a")
    lane.alias("a", "prod")
    Lane(lane.records, ModelStore(tmp_path / "not-mounted")).catalog.announce_all()
    assert lane.told() == [("a", (1,), {"prod": 1})]


def test_a_save_job_run_twice_makes_one_version(lane: Lane) -> None:
    """The handler's second attempt at a job reports the version of the first; another job makes another."""
    job = SaveJob(name="a", source="warmlane:echo")
    save = lane.management.save
    first = save(job, Context(lane.records, "1" * 32, 1))
    assert save(job, Context(lane.records, "1" * 32, 2)) == first
    assert save(job, Context(lane.records, "2" * 32, 1))["version"] == 2
    assert lane.store.versions("a") == [1, 2]
