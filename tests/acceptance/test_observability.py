"""What an operator sees of a worker: its metrics over HTTP, its log, and nothing of what callers sent."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.fleet import Fleet
from warmlane import Client
from warmlane_workers.observer import STAGES

#: Longer than a worker takes to count a job; a test that waits so long has failed.
LIMIT_S = 30
SECRET = "quetzalcoatl-4711"


def scrape(fleet: Fleet) -> dict[tuple[str, str], float]:
    """Samples of the worker: (name, the values of its labels in the order of their names) -> value."""
    url = f"http://127.0.0.1:{fleet.env['WARMLANE_METRICS_PORT']}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (
            sample.name.removeprefix("warmlane_"),
            " ".join(text for _, text in sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_job_shows_in_the_metrics_of_its_worker(warm_fleet: Fleet, client: Client) -> None:
    """After a predict its counter, its stages, its batch and the warm model are in what the worker serves."""
    before = scrape(warm_fleet)
    client.predict("minilm", ["one", "two"]).result(timeout=60)
    grown = [("jobs_total", "predict succeeded"), ("batch_rows_sum", "minilm"), ("device_busy_seconds_total", "")]
    grown += [("stage_seconds_count", f"minilm {stage}") for stage in STAGES if stage != "loading"]
    after = scrape(warm_fleet)
    began = time.monotonic()
    # A caller may hear of the outcome before the worker has counted it.
    while not all(after.get(name, 0) > before.get(name, 0) for name in grown):
        assert time.monotonic() - began < LIMIT_S, [name for name in grown if name not in after]
        after = scrape(warm_fleet)
    assert after["batch_rows_sum", "minilm"] - before.get(("batch_rows_sum", "minilm"), 0) == 2
    assert after["model_loads_total", "minilm store"] == 1
    assert after["cache_bytes", ""] > 10_000_000


def test_every_line_of_the_log_is_an_object_and_none_has_a_payload(warm_fleet: Fleet, client: Client) -> None:
    """At the level DEBUG, after a job that succeeds and one that fails: no line has a word of what was sent."""
    client.predict("minilm", [SECRET, "x"]).result(timeout=60)
    failed = client.predict("minilm", {"row": SECRET}, output="raw")
    assert failed.id
    while not failed.status().state.final:
        failed.progress()
    client.predict("minilm", "last").result(timeout=60)
    text = warm_fleet.log.read_text()
    assert SECRET not in text
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert {"starting", "ready", "load", "job_ended"} <= {line.get("action") for line in lines}
    (ended,) = [line for line in lines if line.get("job_id") == failed.id and line.get("action") == "job_ended"]
    assert (ended["kind"], ended["model"]) == ("predict", "minilm")
    assert ended["worker"] in {worker.id for worker in client.workers()}
