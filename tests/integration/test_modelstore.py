"""The model store: versions that appear whole, once, under numbers of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from warmlane.errors import ConfigurationError, ModelNotFound, SourceError
from warmlane.jobs import SaveJob
from warmlane.keys import Keys
from warmlane.model import ModelRef
from warmlane.ops import ReadModels
from warmlane.store import RedisStore, connect
from warmlane_workers.flavor.save import save_model
from warmlane_workers.lifecycle import JobContext
from warmlane_workers.management import Management
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import JOB_KEY, ModelStore

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10


def echo(job_id: str | None = None) -> Callable[[Path], Artifact]:
    """Writes the diagnostic model, which is a description and nothing else."""
    own = {} if job_id is None else {JOB_KEY: job_id}
    return lambda directory: save_model("warmlane:echo", directory, own=own)


def fails(directory: Path) -> Artifact:
    (directory / "half").write_bytes(b"x" * 1000)
    raise SourceError("the disk of the source is gone")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def on_disk(store: ModelStore, name: str) -> list[str]:
    return sorted(path.name for path in (store.root / name).iterdir())


def test_versions_count_up_from_one(store: ModelStore) -> None:
    """Each publish under a name is the next version; other names count for themselves."""
    assert [store.publish("a", echo())[0] for _ in range(3)] == [1, 2, 3]
    assert store.publish("b", echo())[0] == 1
    assert (store.names(), store.versions("a")) == (["a", "b"], [1, 2, 3])
    assert on_disk(store, "a") == ["1", "2", "3"]


def test_a_published_version_reads_as_it_was_written(store: ModelStore) -> None:
    """The directory of a version holds what was written into the one aside."""
    version, artifact = store.publish("a", echo())
    assert Artifact.read(store.path("a", version)) == artifact


def test_a_number_is_not_given_out_again_while_a_higher_one_lives(store: ModelStore) -> None:
    """After an old version was removed by hand, the next one is still newer than all others."""
    for _ in range(3):
        store.publish("a", echo())
    (store.path("a", 2)).rename(store.root / "removed-2")
    assert store.publish("a", echo())[0] == 4


def test_versions_are_numbers_and_not_texts(store: ModelStore) -> None:
    """Version 10 comes after version 9."""
    for _ in range(11):
        store.publish("a", echo())
    assert store.versions("a") == list(range(1, 12))
    assert store.resolve(ModelRef.parse("a")) == 11


def test_publishers_at_the_same_time_get_versions_of_their_own(store: ModelStore) -> None:
    """Eight threads that publish under one name at once get eight numbers without a gap, each with its own content."""
    together = threading.Barrier(8, timeout=LIMIT_S)

    def publish(number: int) -> tuple[int, str]:
        def write(directory: Path) -> Artifact:
            artifact = echo(str(number))(directory)
            together.wait()  # all are written before any is renamed
            return artifact

        version, artifact = store.publish("a", write)
        return version, artifact.own[JOB_KEY]

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(publish, range(8)))
    assert sorted(version for version, _ in made) == list(range(1, 9))
    for version, job in made:
        assert Artifact.read(store.path("a", version)).own[JOB_KEY] == job
    assert on_disk(store, "a") == [str(version) for version in range(1, 9)]


def test_stores_over_one_directory_see_each_other(store: ModelStore) -> None:
    """Several workers share a root: what one publishes the other resolves, and neither takes the other's number."""
    other = ModelStore(store.root)
    assert store.versions("a") == []
    assert other.publish("a", echo())[0] == 1
    assert store.resolve(ModelRef.parse("a")) == 1
    assert store.publish("a", echo())[0] == 2
    assert other.versions("a") == [1, 2]


def test_a_failed_write_leaves_nothing(store: ModelStore) -> None:
    """A writer that raises leaves no directory, no version and no name, and its error arrives as it is."""
    with pytest.raises(SourceError, match="disk of the source"):
        store.publish("a", fails)
    assert store.names() == []
    assert store.versions("a") == []
    assert [path for path in store.root.rglob("*") if path.is_file()] == []
    assert store.publish("a", echo())[0] == 1
    with pytest.raises(SourceError):
        store.publish("a", fails)
    assert on_disk(store, "a") == ["1"]


def test_a_version_is_not_seen_before_it_is_whole(store: ModelStore) -> None:
    """While it is written there is no version; when there is one, every file is in it."""
    store.publish("a", echo())
    seen: list[list[int]] = []

    def write(directory: Path) -> Artifact:
        artifact = echo()(directory)
        seen.append(store.versions("a"))
        return artifact

    store.publish("a", write)
    seen.append(store.versions("a"))
    assert seen == [[1], [1, 2]]
    assert {path.name for path in store.path("a", 1).iterdir()} == {path.name for path in store.path("a", 2).iterdir()}


def test_readers_of_a_busy_name_never_meet_half_a_version(store: ModelStore) -> None:
    """A reader that resolves and reads while versions are published always finds a whole description."""
    store.publish("a", echo())
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set():
            Artifact.read(store.path("a", store.resolve(ModelRef.parse("a"))))
            reads += 1
        return reads

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for _ in range(10):
            store.publish("a", echo())
        done.set()
        assert reader.result(LIMIT_S) > 0


@pytest.mark.parametrize("ref", ["absent", "absent/1", "a/3", "a@live"])
def test_what_is_not_there_is_model_not_found(store: ModelStore, ref: str) -> None:
    """An unknown name, version or alias says which, and how to see what there is."""
    store.publish("a", echo())
    with pytest.raises(ModelNotFound, match=f"'{ref}'.*warmlane models") as caught:
        store.resolve(ModelRef.parse(ref))
    assert caught.value.details == {"model": ref}


def test_a_name_means_its_newest_version_and_a_number_itself(store: ModelStore) -> None:
    """`name` moves with each publish, `name/1` stays."""
    store.publish("a", echo())
    assert store.resolve(ModelRef.parse("a")) == 1
    store.publish("a", echo())
    assert store.resolve(ModelRef.parse("a")) == 2
    assert store.resolve(ModelRef.parse("a/1")) == 1


def test_a_file_or_a_foreign_directory_in_the_root_is_no_model(store: ModelStore) -> None:
    """Only directories of a model's name with numbered versions in them count."""
    store.publish("a", echo())
    (store.root / "README").write_text("notes")
    (store.root / "Not A Name").mkdir()
    (store.root / "empty").mkdir()
    (store.root / "a" / "notes").mkdir()
    assert (store.names(), store.versions("a")) == (["a"], [1])


def test_a_damaged_version_hides_no_other(store: ModelStore) -> None:
    """The list of artifacts leaves out what cannot be read, and goes on."""
    for _ in range(3):
        store.publish("a", echo())
    (store.path("a", 2) / "MLmodel").write_text("flavors: {transformers: 17}")
    assert [(name, version) for name, version, _ in store.artifacts()] == [("a", 1), ("a", 3)]


def test_a_job_that_is_run_twice_publishes_once(store: ModelStore) -> None:
    """The second run of a job finds the version of its first and writes nothing."""
    first = store.publish("a", echo("job-1"), "job-1")
    store.publish("a", echo("job-2"), "job-2")
    assert store.publish("a", fails, "job-1") == first
    assert store.versions("a") == [1, 2]


def test_a_damaged_version_does_not_stop_a_second_run(store: ModelStore) -> None:
    """A redelivered save is not failed by somebody else's broken directory."""
    store.publish("a", echo())
    (store.path("a", 1) / "MLmodel").write_text("")
    assert store.publish("a", echo("job-1"), "job-1")[0] == 2


# -- the job of it ---------------------------------------------------------------------------------------------------


@pytest.fixture
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisStore]:
    from warmlane.embedded import EmbeddedServer

    server = EmbeddedServer(tmp_path_factory.mktemp("home"))
    server.attach()
    client = connect(server.url, retry_s=1)
    yield RedisStore(client, Keys(), server.url)
    client.close()
    client.connection_pool.disconnect()
    server.detach()


class Quiet(JobContext):
    """A job that reports to nobody."""

    def report(self, fraction: float, phase: str) -> None:
        pass


def test_a_save_job_run_twice_makes_one_version(store: ModelStore, records: RedisStore) -> None:
    """The handler's second attempt at a job reports the version of the first; another job makes another."""
    management = Management(records, store, (Path("/"),), trust_remote_code=False)
    job = SaveJob(name="a", source="warmlane:echo")
    first = management.save(job, Quiet(records, "1" * 32, 1))
    assert management.save(job, Quiet(records, "1" * 32, 2)) == first
    assert management.save(job, Quiet(records, "2" * 32, 1))["version"] == 2
    assert store.versions("a") == [1, 2]


def test_a_fresh_server_is_told_of_an_old_store(store: ModelStore, records: RedisStore) -> None:
    """A worker's start announces every readable version, so that callers can check inputs against them."""
    for _ in range(2):
        store.publish("a", echo())
    store.publish("b", echo())
    (store.path("b", 1) / "MLmodel").write_text("")
    Management(records, store, (Path("/"),), trust_remote_code=False).announce_all()
    assert [(info.name, info.versions) for info in records.run(ReadModels())] == [("a", (1, 2))]


def test_a_store_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    """A worker says at once what each save would stumble over."""
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(ConfigurationError, match="WARMLANE_STORE"):
        ModelStore(tmp_path / "file" / "models").open()
