"""The model store: versions that appear whole, once, under numbers of their own; aliases; deletes. The same in every
kind of place: a directory, a `file://` URL, and what fsspec reaches (its memory)."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests import stored
from warmlane.errors import ModelInUse, ModelNotFound, SourceError, StoreError
from warmlane.model import ModelRef
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import JOB_KEY, ModelStore

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10


def echo(job_id: str | None = None) -> Callable[[Path], Artifact]:
    """Writes the diagnostic model, which is a description and nothing else."""
    return lambda directory: stored.echo(directory, job_id)


def fails(directory: Path) -> Artifact:
    (directory / "half").write_bytes(b"x" * 1000)
    raise SourceError("the disk of the source is gone")


def ref(text: str) -> ModelRef:
    return ModelRef.parse(text)


@pytest.fixture(params=["directory", "file", "memory"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], ModelStore]:
    """Opens one store, as each process of a fleet does."""
    root = {
        "directory": str(tmp_path / "models"),
        "file": f"file://{tmp_path}/models",
        "memory": f"memory://{uuid.uuid4().hex}/models",
    }[request.param]

    def opened() -> ModelStore:
        store = ModelStore(root, tmp_path / "cache")
        store.open()
        return store

    return opened


@pytest.fixture
def store(open_store: Callable[[], ModelStore]) -> ModelStore:
    return open_store()


def test_versions_count_up_from_one(store: ModelStore) -> None:
    """Each publish under a name is the next version; other names count for themselves."""
    assert [store.publish("a", echo())[0] for _ in range(3)] == [1, 2, 3]
    assert store.publish("b", echo())[0] == 1
    assert (store.names(), store.versions("a")) == (["a", "b"], [1, 2, 3])


def test_a_published_version_reads_as_it_was_written(store: ModelStore) -> None:
    """The directory of a version, and its description alone, hold what was written into the one aside."""
    version, artifact = store.publish("a", echo())
    assert Artifact.read(store.path("a", version)) == artifact
    assert store.read("a", version) == artifact


def test_versions_are_numbers_and_not_texts(store: ModelStore) -> None:
    """Version 10 comes after version 9."""
    for _ in range(11):
        store.publish("a", echo())
    assert store.versions("a") == list(range(1, 12))
    assert store.resolve(ref("a")) == 11


def test_publishers_at_the_same_time_get_versions_of_their_own(store: ModelStore) -> None:
    """Eight threads that publish under one name at once get eight numbers without a gap, each with its own content."""
    together = threading.Barrier(8, timeout=LIMIT_S)

    def publish(number: int) -> tuple[int, str]:
        def write(directory: Path) -> Artifact:
            artifact = echo(str(number))(directory)
            together.wait()  # all are written before any is published
            return artifact

        version, artifact = store.publish("a", write)
        return version, artifact.own[JOB_KEY]

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(publish, range(8)))
    assert sorted(version for version, _ in made) == list(range(1, 9))
    for version, job in made:
        assert store.read("a", version).own[JOB_KEY] == job


def test_stores_over_one_root_see_each_other(open_store: Callable[[], ModelStore]) -> None:
    """Several workers share a root: what one publishes the other resolves, and neither takes the other's number."""
    store, other = open_store(), open_store()
    assert store.versions("a") == []
    assert other.publish("a", echo())[0] == 1
    assert store.resolve(ref("a")) == 1
    assert store.publish("a", echo())[0] == 2
    assert other.resolve(ref("a/2")) == 2


def test_a_failed_write_leaves_no_version(store: ModelStore) -> None:
    """A writer that raises leaves no version and no name, and its error arrives as it is."""
    with pytest.raises(SourceError, match="disk of the source"):
        store.publish("a", fails)
    assert (store.names(), store.versions("a")) == ([], [])
    assert store.publish("a", echo())[0] == 1


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
            Artifact.read(store.path("a", store.resolve(ref("a"))))
            reads += 1
        return reads

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for _ in range(10):
            store.publish("a", echo())
        done.set()
        assert reader.result(LIMIT_S) > 0


@pytest.mark.parametrize("text", ["absent", "absent/1", "a/3", "a@live"])
def test_what_is_not_there_is_model_not_found(store: ModelStore, text: str) -> None:
    """An unknown name, version or alias says which, and how to see what there is."""
    store.publish("a", echo())
    with pytest.raises(ModelNotFound, match=f"'{text}'.*warmlane models") as caught:
        store.resolve(ref(text))
    assert caught.value.details == {"model": text}


def test_a_name_means_its_newest_version_and_a_number_itself(store: ModelStore) -> None:
    """`name` moves with each publish, `name/1` stays."""
    store.publish("a", echo())
    assert store.resolve(ref("a")) == 1
    store.publish("a", echo())
    assert store.resolve(ref("a")) == 2
    assert store.resolve(ref("a/1")) == 1


def test_a_damaged_version_hides_no_other(store: ModelStore) -> None:
    """The list of artifacts leaves out what cannot be read, and goes on."""
    for _ in range(3):
        store.publish("a", echo())
    with store.edit("a", 2) as directory:
        (directory / "MLmodel").write_text("flavors: {transformers: 17}")
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
    with store.edit("a", 1) as directory:
        (directory / "MLmodel").write_text("")
    assert store.publish("a", echo("job-1"), "job-1")[0] == 2


# -- aliases ---------------------------------------------------------------------------------------------------------


def test_an_alias_means_one_version_until_it_moves(store: ModelStore) -> None:
    """`name@alias` stays where it was put while versions come, and moves when it is set again."""
    store.publish("a", echo())
    assert store.set_alias(ref("a"), "live") == 1
    store.publish("a", echo())
    assert store.resolve(ref("a@live")) == 1
    assert store.set_alias(ref("a/2"), "live") == 2
    assert store.resolve(ref("a@live")) == 2
    assert dict(store.aliases("a")) == {"live": 2}


def test_an_alias_can_be_set_by_another(store: ModelStore) -> None:
    """An alias of an alias means the version that the other means now, and does not follow it."""
    store.publish("a", echo())
    store.publish("a", echo())
    store.set_alias(ref("a/1"), "next")
    store.set_alias(ref("a@next"), "live")
    store.set_alias(ref("a/2"), "next")
    assert (store.resolve(ref("a@live")), store.resolve(ref("a@next"))) == (1, 2)


def test_an_alias_of_nothing_is_refused(store: ModelStore) -> None:
    """What an alias is to mean must be there."""
    store.publish("a", echo())
    with pytest.raises(ModelNotFound, match="'a/2'"):
        store.set_alias(ref("a/2"), "live")
    assert dict(store.aliases("a")) == {}


def test_another_process_sees_an_alias_that_is_new(open_store: Callable[[], ModelStore]) -> None:
    """A store that has just looked finds an alias that came since."""
    store, other = open_store(), open_store()
    store.publish("a", echo())
    assert dict(other.aliases("a")) == {}
    store.set_alias(ref("a"), "live")
    assert other.resolve(ref("a@live")) == 1


def test_a_removed_alias_leaves_its_version(store: ModelStore) -> None:
    """Deleting `name@alias` forgets the alias only."""
    store.publish("a", echo())
    store.set_alias(ref("a"), "live")
    assert store.delete(ref("a@live")) == []
    assert (store.versions("a"), dict(store.aliases("a"))) == ([1], {})
    with pytest.raises(ModelNotFound, match="'a@live'"):
        store.delete(ref("a@live"))


# -- delete ----------------------------------------------------------------------------------------------------------


def test_a_deleted_version_is_gone_and_the_others_stay(store: ModelStore) -> None:
    """After a delete the version is not listed, not resolved and not deleted again; a name means the newest left."""
    for _ in range(3):
        store.publish("a", echo())
    assert store.delete(ref("a/3")) == [3]
    assert (store.versions("a"), store.resolve(ref("a"))) == ([1, 2], 2)
    with pytest.raises(ModelNotFound, match="'a/3'"):
        store.resolve(ref("a/3"))
    with pytest.raises(ModelNotFound, match="'a/3'"):
        store.delete(ref("a/3"))


def test_a_number_is_never_given_out_again(store: ModelStore) -> None:
    """The newest version is deleted, and then all: what comes next has a number that nothing had before."""
    store.publish("a", echo())
    store.publish("a", echo())
    store.delete(ref("a/2"))
    assert store.publish("a", echo())[0] == 3
    assert store.delete(ref("a")) == [1, 3]
    assert store.names() == []
    assert store.publish("a", echo())[0] == 4


def test_a_version_that_an_alias_means_is_not_deleted(store: ModelStore) -> None:
    """The refusal names the alias; after it has moved the version can go."""
    store.publish("a", echo())
    store.publish("a", echo())
    store.set_alias(ref("a/1"), "live")
    with pytest.raises(ModelInUse, match=r"a@live.*move the alias") as caught:
        store.delete(ref("a/1"))
    assert caught.value.details == {"model": "a/1", "aliases": ["live"]}
    assert store.versions("a") == [1, 2]
    store.set_alias(ref("a/2"), "live")
    assert store.delete(ref("a/1")) == [1]


def test_a_deleted_name_takes_its_aliases_along(store: ModelStore) -> None:
    """`delete name` removes every version and every alias; an alias does not come back with the next version."""
    store.publish("a", echo())
    store.publish("b", echo())
    store.set_alias(ref("a"), "live")
    assert store.delete(ref("a")) == [1]
    assert (store.names(), dict(store.aliases("a"))) == (["b"], {})
    store.publish("a", echo())
    with pytest.raises(ModelNotFound):
        store.resolve(ref("a@live"))


def test_a_delete_of_nothing_is_model_not_found(store: ModelStore) -> None:
    """A name that has no version cannot be deleted."""
    with pytest.raises(ModelNotFound, match="'absent'"):
        store.delete(ref("absent"))


def test_another_process_misses_what_was_deleted(open_store: Callable[[], ModelStore]) -> None:
    """A store that is told to look anew does not resolve a version that another deleted."""
    store, other = open_store(), open_store()
    store.publish("a", echo())
    assert other.resolve(ref("a/1")) == 1
    store.delete(ref("a/1"))
    other.forget("a")
    with pytest.raises(ModelNotFound):
        other.resolve(ref("a/1"))


# -- edit ------------------------------------------------------------------------------------------------------------


def weighty(directory: Path) -> Artifact:
    """Gives a version weights, as a persist does: the files first, the description last."""
    (directory / "model").mkdir()
    (directory / "model" / "weights").write_bytes(b"w" * 100)
    artifact = replace(Artifact.read(directory), has_weights=True)
    artifact.write(directory)
    return artifact


def test_an_edit_changes_the_version_for_everybody(open_store: Callable[[], ModelStore]) -> None:
    """What an editor wrote is what another process reads, under the same number."""
    store, other = open_store(), open_store()
    store.publish("a", echo())
    assert not other.read("a", 1).has_weights
    with store.edit("a", 1) as directory:
        edited = weighty(directory)
    assert other.read("a", 1) == edited
    assert (other.path("a", 1) / "model" / "weights").read_bytes() == b"w" * 100
    assert store.versions("a") == [1]


def test_editors_of_a_version_take_turns(open_store: Callable[[], ModelStore]) -> None:
    """A second editor waits for the first, and finds what it did."""
    store, other = open_store(), open_store()
    store.publish("a", echo())
    found: list[bool] = []

    def edit_too() -> None:
        with other.edit("a", 1) as directory:
            found.append((directory / "model").exists())

    second = threading.Thread(target=edit_too)
    with store.edit("a", 1) as directory:
        second.start()
        weighty(directory)
        assert found == []
    second.join(LIMIT_S)
    assert found == [True]


def test_what_is_deleted_cannot_be_edited(store: ModelStore) -> None:
    """A deleted version is not found by an editor."""
    store.publish("a", echo())
    store.delete(ref("a/1"))
    with pytest.raises(ModelNotFound, match="'a/1'"), store.edit("a", 1):
        raise AssertionError


def test_what_is_deleted_has_no_description(store: ModelStore) -> None:
    """Reading a version that was deleted a moment ago tells that it is gone, not that it is damaged."""
    store.publish("a", echo())
    store.delete(ref("a/1"))
    with pytest.raises(ModelNotFound, match="'a/1'"):
        store.read("a", 1)


def test_a_full_disk_is_a_store_error(store: ModelStore) -> None:
    """No space left while a version is written: the error says what to do, and nothing became visible."""

    def write(directory: Path) -> Artifact:
        with open("/dev/full", "wb") as full:
            full.write(b"weights")
        return echo()(directory)

    with pytest.raises(StoreError, match=r"No space left.*free space.*warmlane delete"):
        store.publish("a", write)
    assert store.versions("a") == []


def test_an_error_of_the_writer_is_not_the_stores(store: ModelStore) -> None:
    """A source file that is missing is not told as a fault of the store."""

    def write(directory: Path) -> Artifact:
        shutil.copyfile("/nowhere/weights", directory / "weights")
        return echo()(directory)

    with pytest.raises(FileNotFoundError):
        store.publish("a", write)
