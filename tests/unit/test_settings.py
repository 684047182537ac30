"""Settings: from the environment, from arguments, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from warmlane import Settings
from warmlane.errors import ConfigurationError
from warmlane.settings import LONGEST_S, RESULT_TTL_S, number


def test_an_empty_environment_gives_the_defaults() -> None:
    """Without variables there is no URL, the namespace is `warmlane`, results wait a day, a call tries for 5 s."""
    settings = Settings.from_env({})
    assert settings == Settings(None, "warmlane", Path.home() / ".local/share/warmlane", RESULT_TTL_S, 5.0)
    assert settings == Settings()


def test_every_setting_has_a_variable() -> None:
    """Each variable sets its field."""
    env = {
        "WARMLANE_REDIS_URL": "redis://example",
        "WARMLANE_NAMESPACE": "fleet-2",
        "WARMLANE_HOME": "/srv/warmlane",
        "WARMLANE_RESULT_TTL": "60",
        "WARMLANE_CONNECT_TIMEOUT": "0.5",
        "WARMLANE_QUEUE_JOBS": "7",
        "WARMLANE_QUEUE_BYTES": "700",
        "WARMLANE_BLOBS": "/srv/blobs",
        "WARMLANE_INLINE_BYTES": "8",
        "WARMLANE_BLOB_BYTES": "800",
    }
    assert Settings.from_env(env) == Settings(
        "redis://example", "fleet-2", Path("/srv/warmlane"), 60, 0.5, 7, 700, "/srv/blobs", 8, 800
    )
    assert len(dataclasses.fields(Settings)) == len(env)


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument, `from_env` reads `os.environ`."""
    monkeypatch.setenv("WARMLANE_NAMESPACE", "mine")
    assert Settings.from_env().namespace == "mine"


def test_an_empty_variable_is_as_good_as_none() -> None:
    """Variables that are set to nothing leave the defaults, as a compose file with unset values has it."""
    names = ("REDIS_URL", "NAMESPACE", "HOME", "RESULT_TTL", "CONNECT_TIMEOUT", "QUEUE_JOBS", "QUEUE_BYTES")
    assert Settings.from_env({f"WARMLANE_{name}": "" for name in names} | {"XDG_DATA_HOME": ""}) == Settings.from_env(
        {}
    )


def test_arguments_win_over_the_environment() -> None:
    """A keyword argument replaces the variable; None leaves it."""
    env = {"WARMLANE_REDIS_URL": "redis://from-env", "WARMLANE_RESULT_TTL": "60"}
    settings = Settings.from_env(env, redis_url="redis://given", result_ttl_s=None)
    assert (settings.redis_url, settings.result_ttl_s) == ("redis://given", 60)


def test_home_follows_the_data_directory_and_expands() -> None:
    """The home lies under `XDG_DATA_HOME` where that is set; `~` in `WARMLANE_HOME` is the user's."""
    assert Settings.from_env({"XDG_DATA_HOME": "/data"}).home == Path("/data/warmlane")
    assert Settings.from_env({"WARMLANE_HOME": "~/w"}).home == Path.home() / "w"


@pytest.mark.parametrize("namespace", ["a", "9", "fleet-2", "a.b_c", "-", "A" * 200])
def test_a_namespace_may_have_letters_digits_and_three_signs(namespace: str) -> None:
    """Letters, digits, '-', '_' and '.' make a namespace, in any place."""
    assert Settings.from_env({"WARMLANE_NAMESPACE": namespace}).namespace == namespace


@pytest.mark.parametrize("namespace", ["a:b", "a b", "a*", "{a}", "a\n", "ä", "a/b"])
def test_another_namespace_is_refused(namespace: str) -> None:
    """A sign that Redis or a pattern gives a meaning is a ConfigurationError that names the variable."""
    with pytest.raises(ConfigurationError, match="WARMLANE_NAMESPACE"):
        Settings.from_env({"WARMLANE_NAMESPACE": namespace})
    with pytest.raises(ConfigurationError, match="WARMLANE_NAMESPACE"):
        Settings.from_env({}, namespace=namespace)


@pytest.mark.parametrize("name", ["WARMLANE_RESULT_TTL", "WARMLANE_CONNECT_TIMEOUT"])
@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "-inf", "1e999", "1h", "0x10"])
def test_a_time_that_is_no_positive_number_is_refused(name: str, text: str) -> None:
    """Words, zero, negative numbers, infinity and not-a-number are a ConfigurationError that names the variable."""
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_env({name: text})


def test_a_result_is_kept_for_ten_years_at_most() -> None:
    """Redis refuses times that are much longer, when the job is done."""
    assert Settings.from_env({"WARMLANE_RESULT_TTL": str(LONGEST_S)}).result_ttl_s == LONGEST_S
    with pytest.raises(ConfigurationError, match="WARMLANE_RESULT_TTL: must be at most"):
        Settings.from_env({"WARMLANE_RESULT_TTL": "1e18"})


@pytest.mark.parametrize("name", ["RESULT_TTL", "QUEUE_JOBS", "QUEUE_BYTES", "INLINE_BYTES", "BLOB_BYTES"])
def test_a_fraction_of_a_job_a_byte_or_a_second_is_refused(name: str) -> None:
    """And not cut off."""
    with pytest.raises(ConfigurationError, match=f"WARMLANE_{name}: must be a whole number"):
        Settings.from_env({f"WARMLANE_{name}": "1.5"})


def test_a_number_may_be_at_its_minimum() -> None:
    """The minimum itself is allowed, in any spelling that Python reads; below it is not."""
    assert number({"X": "1e1"}, "X", 0, minimum=10) == 10
    with pytest.raises(ConfigurationError, match="X: must be at least 10"):
        number({"X": "9.99"}, "X", 0, minimum=10)


def test_settings_are_frozen() -> None:
    """A client's settings cannot change under it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().namespace = "other"  # type: ignore[misc]
