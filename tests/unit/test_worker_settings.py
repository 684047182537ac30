"""The worker's settings: what each variable means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmlane.errors import ConfigurationError
from warmlane_workers.settings import Size, WorkerSettings


def settings(**variables: str) -> WorkerSettings:
    return WorkerSettings.from_env({f"WARMLANE_{name}": value for name, value in variables.items()})


def test_defaults_are_safe_and_local() -> None:
    """Without variables a worker reads its directory and no URL, runs no custom code, lets the device decide sizes."""
    made = settings(HOME="/home/x/warmlane")
    assert (made.store, made.store_cache) == ("/home/x/warmlane/models", Path("/home/x/warmlane/store-cache"))
    assert made.source_roots == (Path.cwd().resolve(),)
    assert made.queues == ("predict", "manage")
    assert (made.device, made.threads) == ("cpu", 64)
    assert (made.trust_remote_code, made.url_inputs) == (False, False)
    assert (made.cache_bytes, made.host_cache_bytes, made.cache_ttl_s) == (None, None, 0)
    assert (made.batch_tokens, made.drain_timeout_s) == (0, 600.0)
    assert made.continuous_batching
    assert made.conversation_ttl_s == 24 * 3600
    assert (made.metrics_port, made.metrics_host) == (0, "127.0.0.1")


def test_every_variable_is_read() -> None:
    """Each setting has its variable."""
    made = settings(
        REDIS_URL="redis://host:1/2",
        NAMESPACE="blue",
        STORE="s3://bucket/models",
        STORE_CACHE="/cache",
        THREADS="8",
        QUEUES="manage",
        CACHE_BYTES="1000000",
        HOST_CACHE_BYTES="2GB",
        CACHE_TTL="90.5",
        BATCH_TOKENS="2048",
        CONTINUOUS_BATCHING="off",
        TRUST_REMOTE_CODE="1",
        URL_INPUTS="1",
        CONVERSATION_TTL="3600",
        DRAIN_TIMEOUT="2.5",
        RESULT_TTL="60",
        METRICS_PORT="9100",
        METRICS_HOST="0.0.0.0",
    )
    assert (made.client.redis_url, made.client.namespace, made.client.result_ttl_s) == ("redis://host:1/2", "blue", 60)
    assert (made.store, made.store_cache) == ("s3://bucket/models", Path("/cache"))
    assert (made.threads, made.queues) == (8, ("manage",))
    assert (made.cache_bytes, made.host_cache_bytes) == (Size(1_000_000), Size(2_000_000_000))
    assert (made.cache_ttl_s, made.batch_tokens, made.drain_timeout_s) == (90.5, 2048, 2.5)
    assert not made.continuous_batching
    assert made.conversation_ttl_s == 3600
    assert (made.metrics_port, made.metrics_host) == (9100, "0.0.0.0")
    assert (made.trust_remote_code, made.url_inputs) == (True, True)


def test_source_roots_are_true_directories(tmp_path: Path) -> None:
    """Roots are split at colons and their links followed, so that a later check compares true paths."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    assert settings(SOURCE_ROOTS=f"{link}::{tmp_path}/real/..:").source_roots == (real, tmp_path)


def test_home_directories_are_spelled_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tilde in the store and the roots means the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made = settings(STORE="~/store", SOURCE_ROOTS="~/sources")
    assert (made.store, made.source_roots) == (str(tmp_path / "store"), (tmp_path / "sources",))


def test_keyword_arguments_win_unless_they_are_none() -> None:
    """An override replaces what the environment says; None does not."""
    env = {"WARMLANE_THREADS": "8"}
    assert WorkerSettings.from_env(env, threads=4, device="0").threads == 4
    assert WorkerSettings.from_env(env, threads=None).threads == 8


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_custom_code_is_allowed_in_these_words(value: str) -> None:
    """`WARMLANE_TRUST_REMOTE_CODE` means yes when it says so."""
    assert settings(TRUST_REMOTE_CODE=value).trust_remote_code


@pytest.mark.parametrize("value", ["", "0", "no", "false", "maybe", " 1"])
def test_custom_code_is_refused_in_all_others(value: str) -> None:
    """Anything else does not open that door."""
    assert not settings(TRUST_REMOTE_CODE=value).trust_remote_code


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("THREADS", "many"),
        ("THREADS", "0"),
        ("CACHE_BYTES", "-1"),
        ("CACHE_BYTES", "1.5"),
        ("HOST_CACHE_BYTES", "4 sacks"),
        ("CACHE_TTL", "-1"),
        ("BATCH_TOKENS", "-5"),
        ("CONTINUOUS_BATCHING", "yes"),
        ("CONVERSATION_TTL", "0"),
        ("DRAIN_TIMEOUT", "soon"),
        ("NAMESPACE", "a b"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_refused_by_name(variable: str, value: str) -> None:
    """A malformed number or name is a `ConfigurationError` that says which variable."""
    with pytest.raises(ConfigurationError, match=f"WARMLANE_{variable}"):
        settings(**{variable: value})


@pytest.mark.parametrize("value", ["predict,train", "Predict", "predict;manage"])
def test_an_unknown_queue_is_refused_with_the_known_ones(value: str) -> None:
    """A misspelt queue would be served by nobody, so it is refused and the message lists the real ones."""
    with pytest.raises(ConfigurationError, match="choose from predict, manage"):
        settings(QUEUES=value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1.5"])
def test_a_count_is_a_whole_number(value: str) -> None:
    """Not-a-number, infinity and fractions are no count of threads."""
    with pytest.raises(ConfigurationError, match="WARMLANE_THREADS"):
        settings(THREADS=value)


@pytest.mark.parametrize(
    ("text", "of_ten_gb"),
    [
        ("12000000000", 12 * 10**9),
        ("12GB", 12 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("500m", 5 * 10**8),
        ("0.6", 6 * 10**9),
        ("1", 10**10),
        ("0", 0),
    ],
)
def test_a_size_is_bytes_or_a_share(text: str, of_ten_gb: int) -> None:
    """Whole bytes, with units of 1000 or 1024, or up to 1 a share of what there is."""
    assert Size.parse(text).of(10**10) == of_ten_gb


@pytest.mark.parametrize("value", ["0", "-1", "65536", "80.5", "http"])
def test_a_metrics_port_is_one_that_can_be_found(value: str) -> None:
    """A port that is none, or that the system would choose, is refused."""
    with pytest.raises(ConfigurationError, match="WARMLANE_METRICS_PORT"):
        settings(METRICS_PORT=value)
