"""Requests in OpenAI's shape, and conversations, through the queue to real workers."""

from __future__ import annotations

import uuid
from typing import Any

from tests import tiny, tiny_seq2seq
from tests.fleet import Fleet
from warmlane import Client

GREEDY = {"max_new_tokens": 4, "do_sample": False}


def test_a_request_is_answered_through_the_queue(warm_fleet: Fleet, client: Client) -> None:
    """Saved as `llm/v1/completions`, a model takes a request as it is, alone or in a list, and checks it first."""
    source = tiny.save("text-generation", warm_fleet.home / "gpt2")
    client.save("complete", source, task="llm/v1/completions").result(timeout=60)
    request = {"prompt": "the cat", "max_tokens": 5, "temperature": 0}
    [one] = client.predict("complete", request).result(timeout=60)
    [same, drawn] = client.predict("complete", [request, {**request, "temperature": 1, "n": 2}]).result(timeout=60)
    assert one["choices"] == same["choices"]
    assert one["usage"]["completion_tokens"] == 5
    assert len(drawn["choices"]) == 2
    client.unload("complete").result(timeout=30)


def test_a_conversation_goes_on_from_job_to_job(warm_fleet: Fleet, client: Client) -> None:
    """What was said lies with the server: the next job of the conversation is answered by it, another one is not."""
    model, tokenizer = tiny_seq2seq.chatter()
    source, name = warm_fleet.home / "chat", uuid.uuid4().hex
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    client.save("chat", source, task="conversational").result(timeout=60)

    def say(text: str, **params: Any) -> Any:
        return client.predict("chat", text, params={**GREEDY, **params}).result(timeout=60)

    say("the cat sat", conversation_id=name)
    assert say("a dog", conversation_id=name) != say("a dog") == say("a dog", conversation_id=name + "-other")
    client.unload("chat").result(timeout=30)
