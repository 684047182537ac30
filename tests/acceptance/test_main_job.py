"""The main job, end to end: save, load, predict, poll, on real weights through real processes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy
import pytest

from tests.fleet import Fleet, minilm
from warmlane import AsyncClient, Client, State

SENTENCES = [
    "The cat sleeps on the warm windowsill.",
    "A kitten naps in the sunshine by the window.",
    "Interest rates rose again this quarter.",
    "The central bank tightened monetary policy.",
]


def test_save_load_predict_and_poll_on_real_weights(client: Client) -> None:
    """A saved model that was warmed with another dtype answers, and its sentences lie near where they should."""
    loaded = client.load("minilm").result(timeout=60)
    assert (loaded["types"]["pipeline"], loaded["dtype"]) == ("FeatureExtractionPipeline", "float32")
    vectors = numpy.stack(
        client.predict("minilm", SENTENCES, params={"pooling": "mean", "normalize": True}).result(timeout=60)
    )
    similar = vectors @ vectors.T  # (4, 4) cosines
    across = similar[:2, 2:].max()
    assert similar[0, 1] > 2 * across
    assert similar[2, 3] > 2 * across


def test_a_dtype_override_is_reported_beside_the_recorded_type(client: Client) -> None:
    """A load says both the recorded and the effective element type, and a predict without one takes the loaded."""
    client.save("halved", minilm(), dtype="bfloat16").result(timeout=60)
    loaded = client.load("halved", dtype="torch.float64").result(timeout=60)
    assert (loaded["recorded_dtype"], loaded["dtype"]) == ("bfloat16", "float64")
    client.predict("halved", "one text").result(timeout=60)
    [worker] = client.workers()
    assert [warm.dtype for warm in worker.models if warm.model == "halved/1"] == ["float64"]
    assert client.unload("halved").result(timeout=30)["missing"] == []


def test_components_are_loaded_by_name(client: Client) -> None:
    """`return_type="components"` warms the parts and names their classes, and predict still works over them."""
    client.save("parts", {"model": str(minilm()), "tokenizer": str(minilm())}).result(timeout=60)
    loaded = client.load("parts", return_type="components").result(timeout=60)
    assert loaded["types"] == {"model": "BertModel", "tokenizer": "BertTokenizer"}
    assert client.predict("parts", "one text").result(timeout=60).shape[1] == 384
    client.unload("parts").result(timeout=30)


def test_the_warm_table_names_the_model_and_its_worker(client: Client) -> None:
    """`models` and `workers` tell who holds what, pinned and in bytes."""
    [info] = [info for info in client.models() if info.name == "minilm"]
    [worker] = client.workers()
    assert info.warm_on == (worker.id,)
    [warm] = [warm for warm in worker.models if warm.model == "minilm/1"]
    assert (warm.pinned, warm.device, warm.bytes > 80_000_000) == (True, "cpu", True)


def test_unload_frees_the_model_and_the_next_predict_loads_it_again(client: Client) -> None:
    """Unload names the worker and the bytes it freed; the model stays in the store."""
    client.save("brief", minilm()).result(timeout=60)
    size = client.load("brief", pin=True).result(timeout=60)["bytes"]
    freed = client.unload("brief").result(timeout=30)
    assert freed["bytes"] == size
    assert list(freed["freed"]) == [client.workers()[0].id]
    assert client.predict("brief", "again").result(timeout=60).shape[1] == 384
    client.unload("brief").result(timeout=30)


def test_a_job_is_polled_and_read_by_its_id_alone(warm_fleet: Fleet, client: Client) -> None:
    """Another client, as another process would, follows a job that it did not enqueue."""
    job = client.predict("minilm", SENTENCES)
    with warm_fleet.client() as other:
        assert len(other.job(job.id).result(timeout=60)) == len(SENTENCES)
        status = other.job(job.id).status()
    assert (status.state, status.kind, status.model) == (State.SUCCEEDED, "predict", "minilm")
    assert status.started is not None
    assert status.finished is not None
    assert status.queued <= status.started <= status.finished
    assert status.progress.fraction == 1


def test_a_thousand_jobs_from_threads_and_tasks_each_get_their_own_answer(warm_fleet: Fleet, client: Client) -> None:
    """8 threads and 4 tasks send 1,000 jobs at once; each result is for its own input."""
    answers: dict[str, Any] = {}

    def send(thread: int) -> None:
        for number in range(100):
            text = f"thread {thread} row {number}"
            answers[text] = client.predict("echo", text).result(timeout=120)

    async def send_async() -> None:
        async with AsyncClient(settings=warm_fleet.settings) as aclient:

            async def task(index: int) -> None:
                for number in range(50):
                    text = f"task {index} row {number}"
                    answers[text] = await aclient.predict("echo", text).result(timeout=120)

            await asyncio.gather(*(task(index) for index in range(4)))

    threads = [threading.Thread(target=send, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(send_async())
    for thread in threads:
        thread.join()
    assert len(answers) == 1000
    assert all(answer == text for text, answer in answers.items())


def test_batched_answers_equal_those_of_one_at_a_time(warm_fleet: Fleet, client: Client) -> None:
    """128 concurrent jobs of mixed length give what the same jobs give alone, within 1e-4."""
    texts = [
        " ".join(["warm", "lane", "queue", "model"][number % 4] for _ in range(number + 1)) for number in range(128)
    ]
    alone = [client.predict("minilm", text).result(timeout=60) for text in texts[::8]]
    jobs = [client.predict("minilm", text) for text in texts]
    together = [job.result(timeout=120) for job in jobs]
    for one, many in zip(alone, together[::8], strict=True):
        assert one.shape == many.shape
        assert numpy.abs(one - many).max() < 1e-4


@pytest.mark.parametrize("batch", [1, 7])
def test_a_row_in_is_a_row_out(client: Client, batch: int) -> None:
    """A list of n texts gives n arrays, in order, each with its own number of tokens."""
    texts = ["word " * (index + 1) for index in range(batch)]
    answers = client.predict("minilm", texts).result(timeout=60)
    assert [len(answer) for answer in answers] == [index + 3 for index in range(batch)]  # with [CLS] and [SEP]
