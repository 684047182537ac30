"""Conversations that go on: two workers' engines in this process, one real server between them."""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
import transformers

from tests import tiny_seq2seq
from warmlane.embedded import EmbeddedServer
from warmlane.errors import ConversationMoved, InputTooLong, InvalidParams, SchemaError
from warmlane.jobs import PredictJob
from warmlane.keys import Keys
from warmlane.results import Table
from warmlane.signature import check_inputs, default_signature
from warmlane.store import RedisStore, connect
from warmlane_workers.context import JobContext
from warmlane_workers.engine import conversations, device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor import save_model
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.pipelines.classic import register
from warmlane_workers.tasks.conversational import shortened

GREEDY: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
TTL_S = 600


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


class Lane:
    """Two engines over one model store, and one server."""

    def __init__(self, root: Path, client: redis.Redis, names: Keys, url: str) -> None:
        self.client, self.names = client, names
        self.store = RedisStore(client, names, url)
        register()
        model, tokenizer = tiny_seq2seq.chatter()
        pipeline: Any = transformers.pipeline
        self.bare = pipeline("conversational", model=model, tokenizer=tokenizer, device="cpu")
        models = ModelStore(root)
        models.publish("chat", lambda directory: save_model(self.bare, directory))
        self.engines = [
            Engine(
                models,
                device.find("cpu"),
                source_roots=(),
                trust_remote_code=False,
                conversation_ttl_s=TTL_S,
                on_change=lambda: None,
            )
            for _ in range(2)
        ]

    def say(self, inputs: Any, *, worker: int = 0, job: str | None = None, on_error: str = "job", **params: Any) -> Any:
        """What a predict job answers on a worker."""
        context = JobContext(self.store, job or uuid.uuid4().hex, 1)
        predict = PredictJob(model="chat", inputs=inputs, params={**GREEDY, **params}, on_error=on_error)
        return self.engines[worker].predict(predict, context)

    def answer(self, *messages: dict[str, str]) -> str:
        """The bare pipeline's answer to all messages."""
        said: str = self.bare(list(messages), **GREEDY).messages[-1]["content"]
        return said.strip()

    def messages(self, name: str) -> Sequence[dict[str, str]]:
        """What the server keeps of a conversation."""
        talks = conversations.Talks(JobContext(self.store, "reader", 1), "chat", TTL_S)
        return list(talks.read({"text": "", "conversation_id": name}).said)


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        server = EmbeddedServer(Path(home))
        server.attach()
        client = connect(server.url, retry_s=5)
        lane = Lane(Path(home) / "models", client, Keys(), server.url)
        for engine in lane.engines:
            engine.start()
        yield lane
        for engine in lane.engines:
            engine.stop(60)
        client.close()
        server.detach()


@pytest.fixture
def name() -> str:
    """An id that no other test uses."""
    return uuid.uuid4().hex


def test_any_worker_goes_on_with_a_conversation(lane: Lane, name: str) -> None:
    """The second turn, on another worker, is answered as the bare pipeline answers all that was said."""
    first = lane.say({"text": "the cat sat", "conversation_id": name})
    second = lane.say({"text": "a dog", "conversation_id": name}, worker=1)
    assert first == lane.answer(user("the cat sat"))
    assert second == lane.answer(user("the cat sat"), assistant(lane.messages(name)[1]["content"]), user("a dog"))
    assert second != lane.answer(user("a dog"))


def test_a_text_goes_on_with_the_conversation_of_the_parameters(lane: Lane, name: str) -> None:
    """As the guide has it: a str, and the id beside it."""
    lane.say("the cat sat", conversation_id=name)
    lane.say(["a dog"], worker=1, conversation_id=name)
    assert [message["role"] for message in lane.messages(name)] == ["user", "assistant"] * 2
    with pytest.raises(InvalidParams, match="one conversation"):
        lane.say(["a", "b"], conversation_id=name)


def test_messages_go_on_with_a_conversation(lane: Lane, name: str) -> None:
    """All messages of a row are new, whosever they are."""
    lane.say({"messages": [{"role": "system", "content": "good"}, user("the cat")], "conversation_id": name})
    lane.say({"messages": [user("a dog"), assistant("a bird"), user("red")], "conversation_id": name})
    roles = [message["role"] for message in lane.messages(name)]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]


def test_a_list_of_messages_is_one_conversation(lane: Lane) -> None:
    """Flat, it is one row; a list of lists, or of texts, has a row each; a table too."""
    chat = [user("the cat"), assistant("a dog"), user("red")]
    expected = lane.answer(*chat)
    assert lane.say(chat) == expected
    assert lane.say([chat, "the cat"]) == [expected, lane.answer(user("the cat"))]
    assert lane.say(Table({"text": ["the cat"]})) == [lane.answer(user("the cat"))]


def test_conversations_of_one_job_do_not_mix(lane: Lane, name: str) -> None:
    """Rows share a batch, each with a history of its own."""
    ids = [f"{name}-{number}" for number in range(8)]
    texts = [f"the cat {'red ' * number}sat" for number in range(8)]
    rows = [{"text": text, "conversation_id": one} for one, text in zip(ids, texts, strict=True)]
    firsts = lane.say(rows)
    seconds = lane.say([{**row, "text": "a dog"} for row in rows], worker=1)
    for one, first, second, text in zip(ids, firsts, seconds, texts, strict=True):
        said = lane.messages(one)
        assert [message["content"] for message in said[::2]] == [text, "a dog"]
        assert first == said[1]["content"].strip() == lane.answer(user(text))
        assert second == lane.answer(*said[:3])


def test_two_models_do_not_share_an_id(lane: Lane, name: str) -> None:
    """A conversation belongs to a model by its name, whatever its version."""
    lane.say({"text": "the cat", "conversation_id": name})
    assert [key.decode() for key in lane.client.keys(f"*{name}*")] == [f"warmlane:conversation:chat:{name}"]


def test_a_conversation_is_forgotten_after_its_time(lane: Lane, name: str) -> None:
    """Its time begins again with each turn; when it is over the next turn is the first."""
    key = lane.names.conversation("chat", name)
    lane.say({"text": "the cat sat", "conversation_id": name})
    lane.client.expire(key, 5)
    lane.say({"text": "a dog", "conversation_id": name})
    assert TTL_S - 60 < lane.client.ttl(key) <= TTL_S  # type: ignore[operator]
    lane.client.delete(key)  # as its end does
    assert lane.say({"text": "a dog", "conversation_id": name}) == lane.answer(user("a dog"))


def test_a_job_that_is_done_twice_says_it_once(lane: Lane, name: str) -> None:
    """An attempt after its worker's death, which came before the outcome was stored, takes the same turn again."""
    lane.say({"text": "the cat", "conversation_id": name})
    row = {"text": "a dog", "conversation_id": name}
    first = lane.say(row, job="f" * 32)
    assert lane.say(row, job="f" * 32, worker=1) == first
    assert [message["content"] for message in lane.messages(name)[::2]] == ["the cat", "a dog"]


def test_a_turn_is_taken_once(lane: Lane, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that answers while another takes the turn fails, and what the other said stays."""
    keep = conversations.Talks._keep

    def overtaken(talks: conversations.Talks, *args: Any) -> None:
        monkeypatch.setattr(conversations.Talks, "_keep", keep)
        lane.say({"text": "a bird", "conversation_id": name}, worker=1)
        keep(talks, *args)

    monkeypatch.setattr(conversations.Talks, "_keep", overtaken)
    with pytest.raises(ConversationMoved, match="wait for each answer"):
        lane.say({"text": "a dog", "conversation_id": name})
    assert [message["content"] for message in lane.messages(name)[::2]] == ["a bird"]


def test_a_row_that_fails_says_nothing(lane: Lane, name: str) -> None:
    """Its conversation stays as it was; that of its neighbour goes on."""
    rows = [{"text": "the cat", "conversation_id": name}, {"text": 3, "conversation_id": name + "x"}]
    good, bad = lane.say(rows, on_error="row")
    assert good == lane.answer(user("the cat"))
    assert bad["error"]["code"] == "schema_mismatch"
    assert (len(lane.messages(name)), len(lane.messages(name + "x"))) == (2, 0)


def test_a_conversation_that_outgrows_the_model_loses_its_oldest_turns(lane: Lane, name: str) -> None:
    """The system's message stays, answers go on, and a message that is too long by itself is refused."""
    rules = {"role": "system", "content": "good"}
    lane.say({"messages": [rules, user("the cat sat on the red stone")], "conversation_id": name})
    for number in range(12):
        lane.say({"text": f"{number} a dog ran in the night" * 10, "conversation_id": name})
    said = lane.messages(name)
    assert said[0] == rules
    assert said[1]["role"] == "user"
    assert said[1]["content"] != "the cat sat on the red stone"
    assert said[-2]["content"] == "11 a dog ran in the night" * 10
    with pytest.raises(InputTooLong):
        lane.say({"text": "the cat " * 400, "conversation_id": name})


def test_what_is_kept_has_bounds(lane: Lane, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In messages and in bytes; the newest turn stays in any case."""
    monkeypatch.setattr(conversations, "MAX_MESSAGES", 4)
    for word in ("the", "cat", "sat"):
        lane.say({"text": word, "conversation_id": name})
    assert [message["content"] for message in lane.messages(name)[::2]] == ["cat", "sat"]
    monkeypatch.setattr(conversations, "MAX_BYTES", 1)
    lane.say({"text": "dog", "conversation_id": name})
    assert [message["content"] for message in lane.messages(name)[::2]] == ["dog"]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a", "conversation_id": ""},
        {"text": "a", "conversation_id": "a b"},
        {"text": "a", "conversation_id": 7},
        {"text": "a", "conversation_id": "x" * 129},
        {"conversation_id": "x"},
        {"text": "a", "messages": [user("a")], "conversation_id": "x"},
        {"text": "a", "conversation": "x"},
        {"messages": "a", "conversation_id": "x"},
        {"messages": [], "conversation_id": "x"},
        {"messages": [{"role": "tool", "content": "a"}], "conversation_id": "x"},
        {"messages": [{"role": "user"}], "conversation_id": "x"},
    ],
)
def test_what_is_no_turn_is_refused(lane: Lane, row: dict[str, Any]) -> None:
    """Before it runs, and without quoting it."""
    with pytest.raises(SchemaError, match=r"conversation_id|messages|text|string"):
        lane.say(row)


def test_a_conversation_takes_one_turn_a_job(lane: Lane, name: str) -> None:
    """The second row would not know the first one's answer."""
    with pytest.raises(SchemaError, match="two rows"):
        lane.say([{"text": "a", "conversation_id": name}, {"text": "b", "conversation_id": name}])


@pytest.mark.parametrize(
    "inputs",
    [
        "hi",
        [user("hi")],
        [[user("hi")], "hi"],
        {"text": "hi", "conversation_id": "x"},
        [{"messages": [user("hi")], "conversation_id": "x"}],
    ],
)
def test_the_default_signature_lets_conversations_through(inputs: Any) -> None:
    """A client checks inputs by it before it enqueues them."""
    check_inputs(default_signature("conversational"), "conversational", inputs)


@pytest.mark.parametrize("inputs", [7, [[]], {"question": "hi"}, [["hi"]]])
def test_the_default_signature_refuses_the_rest(inputs: Any) -> None:
    """What no conversation can be."""
    with pytest.raises(SchemaError):
        check_inputs(default_signature("conversational"), "conversational", inputs)


@pytest.mark.parametrize(
    ("roles", "most", "left"),
    [
        ("uaua", 4, "ua"),
        ("suaua", 5, "sua"),
        ("ua", 2, ""),
        ("sua", 3, "s"),
        ("uaaua", 5, "ua"),
        ("uaua", 1, "aua"),
        ("s", 1, "s"),
        ("", 0, ""),
    ],
)
def test_the_oldest_turn_goes_first(roles: str, most: int, left: str) -> None:
    """A turn is what stands before the user's next message; the system's first messages stay."""
    names = {"u": "user", "a": "assistant", "s": "system"}
    messages = [{"role": names[role], "content": str(place)} for place, role in enumerate(roles)]
    found = shortened(messages, most)
    assert re.sub(r"(\w)\w*", r"\1", " ".join(message["role"] for message in found)).replace(" ", "") == left
