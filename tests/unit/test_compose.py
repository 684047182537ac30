"""compose.yaml and the Dockerfile: what an operator relies on, read from the files. No container is started."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from warmlane.settings import Settings
from warmlane.store import connect

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = {name: service for name, service in SERVICES.items() if service["command"][:2] == ["warmlane", "worker"]}
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def _options(command: list[str]) -> dict[str, str]:
    """The `--name value` pairs of a command."""
    return {name: value for name, value in pairwise(command) if name.startswith("--")}


def _seconds(text: str) -> int:
    number, unit = re.fullmatch(r"([0-9]+)([sm])", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def _gpus(service: dict[str, Any]) -> list[dict[str, Any]]:
    reserved = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    return [device for device in reserved if "gpu" in device["capabilities"]]


def _stages() -> dict[str, str]:
    """The Dockerfile's stages: name -> text."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_redis_keeps_what_was_accepted() -> None:
    """Redis 7 or newer writes an append-only file each second, on a volume, and evicts nothing."""
    redis = SERVICES["redis"]
    assert int(re.match(r"redis:([0-9]+)", redis["image"])[1]) >= 7  # type: ignore[index]
    options = _options(redis["command"])
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "everysec")
    assert options["--maxmemory-policy"] == "noeviction"
    assert redis["volumes"] == ["redis:/data"]


def test_redis_is_not_published_and_the_gateway_is_to_this_machine_only() -> None:
    """Nothing in the fleet asks for a password, so that nothing listens on a public address."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8080:8080"]}


def test_everybody_waits_for_a_redis_that_answers() -> None:
    """Redis has a health check, and all others start after it has passed."""
    assert "PONG" in SERVICES["redis"]["healthcheck"]["test"][1]
    for service in OURS.values():
        assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_exactly_one_worker_reserves_gpus() -> None:
    """One worker reserves NVIDIA GPUs and serves all of them; the other serves the CPU."""
    reserved = {name: _gpus(service) for name, service in SERVICES.items() if _gpus(service)}
    assert reserved == {"worker-gpu": [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]}
    devices = {name: _options(service["command"])["--devices"] for name, service in WORKERS.items()}
    assert devices == {"worker-gpu": "all", "worker-cpu": "cpu"}


def test_the_gateway_listens_where_its_port_is_published() -> None:
    """The port of the command is the published one, the exposed one, and the one of the health check."""
    gateway = SERVICES["gateway"]
    assert gateway["command"][:2] == ["warmlane", "gateway"]
    options = _options(gateway["command"])
    assert options == {"--host": "0.0.0.0", "--port": gateway["ports"][0].rpartition(":")[2]}
    assert f":{options['--port']}/readyz" in gateway["healthcheck"]["test"][-1]
    assert f"EXPOSE {options['--port']}\n" in _stages()["gateway"]


def test_all_of_ours_use_the_same_server() -> None:
    """Workers and gateway agree on the URL: the service's name, and one that the client can read."""
    urls = {service["environment"]["WARMLANE_REDIS_URL"] for service in OURS.values()}
    assert urls == {"redis://redis:6379/0"}
    settings = Settings.from_env({"WARMLANE_REDIS_URL": urls.pop()})
    client = connect(settings.redis_url or "", retry_s=0)
    assert client.connection_pool.connection_kwargs["host"] in SERVICES
    client.close()


def test_workers_share_one_model_store() -> None:
    """All workers keep models under one directory of one named volume, which the image gives to its user."""
    stores = {service["environment"]["WARMLANE_STORE"] for service in WORKERS.values()}
    assert len(stores) == 1
    assert all("models:/var/lib/warmlane" in service["volumes"] for service in WORKERS.values())
    assert stores.pop().startswith("/var/lib/warmlane/")
    assert "models" in COMPOSE["volumes"]
    assert "--owner=warmlane" in _stages()["base"]
    assert "/var/lib/warmlane\n" in _stages()["base"]


def test_workers_and_gateway_share_one_blob_store() -> None:
    """A large payload is written on one side and read on the other: in one directory, on one named volume, which both
    images give to their user."""
    [place] = {service["environment"]["WARMLANE_BLOBS"] for service in OURS.values()}
    assert all(f"blobs:{place}" in service["volumes"] for service in OURS.values())
    assert "blobs" in COMPOSE["volumes"]
    [owned] = re.findall(r"install --directory --owner=warmlane --group=warmlane (.+)", _stages()["base"])
    assert place in owned.split()


def test_a_stopped_worker_has_time_to_drain() -> None:
    """Docker kills a worker later than the drain ends by itself."""
    for service in WORKERS.values():
        assert _seconds(service["stop_grace_period"]) > int(service["environment"]["WARMLANE_DRAIN_TIMEOUT"])


@pytest.mark.parametrize("name", OURS)
def test_each_image_is_a_target_that_installs_its_extra(name: str) -> None:
    """What compose builds is a stage of the Dockerfile, with the extra of that side, not run as root."""
    build = OURS[name]["build"]
    stage = _stages()[build["target"]]
    assert build["args"] == {"EXTRAS": build["target"]}
    assert f"ARG EXTRAS={build['target']}\n" in stage
    assert "[${EXTRAS}]" in stage
    assert re.findall(r"^USER (\S+)$", stage, flags=re.MULTILINE) == ["warmlane"]


def test_a_stage_runs_what_compose_runs() -> None:
    """The image started by hand does what its service does."""
    for service, target in (("worker-gpu", "worker"), ("gateway", "gateway")):
        [command] = re.findall(r"^CMD (.+)$", _stages()[target], flags=re.MULTILINE)
        assert yaml.safe_load(command) == SERVICES[service]["command"]


def test_the_build_copies_what_exists() -> None:
    """Each source that the Dockerfile copies is in the repository, and .dockerignore lets it in."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [source for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


def test_no_file_names_a_registry() -> None:
    """Images and packages come from wherever the machine's own settings say: no name has a host in it."""
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert not [image for image in images if "/" in image]
    assert not re.search(r"https?://(?!127\.0\.0\.1)", DOCKERFILE + (ROOT / "compose.yaml").read_text())
