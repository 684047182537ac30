"""`llm/v1` artifacts, in process: requests and answers of OpenAI's API, each row by its own parameters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import transformers
from transformers import AutoModelForCausalLM

from tests import tiny, tiny_seq2seq
from tests.inprocess import Served
from warmlane.errors import (
    InputTooLong,
    InvalidParams,
    PipelineMismatch,
    SchemaError,
    UnsupportedInferenceTask,
    UnsupportedTask,
)
from warmlane.jobs import PredictJob
from warmlane.results import Table
from warmlane_workers.engine.reading import framed
from warmlane_workers.tasks import inference

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<{{ m.role }}> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
HELLO = [{"role": "user", "content": "the cat sat"}]


def checkpoint(kind: str, directory: Path, template: str | None = None) -> Path:
    tiny.save(kind, directory)
    if template is not None:
        tokenizer = tiny.tokenizer(directory)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openai")


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Served]:
    with Served(root) as served:
        served.add_directory("complete", checkpoint("text-generation", root / "gpt2"), "llm/v1/completions")
        served.add_directory("chat", checkpoint("llama", root / "llama", TEMPLATE), "llm/v1/chat")
        served.add_directory("embed", checkpoint("feature-extraction", root / "bert"), "llm/v1/embeddings")
        yield served


def _t5(directory: Path) -> Path:
    for part in tiny_seq2seq.t5():
        part.save_pretrained(directory)
    return directory


def bare_parts(directory: Path) -> dict[str, Any]:
    return {"model": AutoModelForCausalLM.from_pretrained(directory), "tokenizer": tiny.tokenizer(directory)}


def bare(root: Path, name: str, task: str) -> Any:
    pipeline: Any = transformers.pipeline
    return pipeline(task, model=str(root / name), device="cpu")


def prompts(count: int) -> list[str]:
    return tiny.texts(count, longest=12)


def text(answer: dict[str, Any], index: int = 0) -> str:
    found: str = answer["choices"][index]["text"]
    return found


def complete(served: Served, prompt: str, **request: Any) -> dict[str, Any]:
    (answer,) = served.predict("complete", {"prompt": prompt, **request})
    found: dict[str, Any] = answer
    return found


# -- completions -----------------------------------------------------------------------------------------------------


def test_a_completion_has_the_shape_of_the_api(served: Served, root: Path) -> None:
    """An id of its own, the kind, the second, the model's source, a choice, and counts that add up."""
    one, other = served.predict("complete", [{"prompt": "a dog", **GREEDY}, {"prompt": "a dog", **GREEDY}])
    assert one["id"] != other["id"]
    assert one["object"] == "text_completion"
    assert abs(one["created"] - time.time()) < 60
    assert one["model"] == "complete/1"  # of what was saved from a directory, and no path of the worker
    assert [set(choice) for choice in one["choices"]] == [{"index", "finish_reason", "text"}]
    assert one["usage"]["total_tokens"] == one["usage"]["prompt_tokens"] + one["usage"]["completion_tokens"]


def test_completions_are_those_of_the_bare_pipeline(served: Served, root: Path) -> None:
    """32 prompts of mixed length, in one job, get what the pipeline writes behind each alone."""
    rows = prompts(32)
    answers = served.predict("complete", [{"prompt": row, **GREEDY} for row in rows])
    pipe = bare(root, "gpt2", "text-generation")
    alone = [pipe(row, max_new_tokens=8, do_sample=False, return_full_text=False)[0]["generated_text"] for row in rows]
    assert [text(answer) for answer in answers] == [answer.lstrip() for answer in alone]
    assert len(set(alone)) > 16


def test_usage_counts_no_padding(served: Served, root: Path) -> None:
    """In a padded batch each answer has the counts that it has alone."""
    tokenizer = tiny.tokenizer(root / "gpt2")
    rows = ["the", "the cat sat on the small red stone in the night", "a bird"]
    answers = served.predict("complete", [{"prompt": row, "temperature": 0, "max_tokens": 5} for row in rows])
    counts = [(answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) for answer in answers]
    assert counts == [(len(tokenizer(row)["input_ids"]), 5) for row in rows]


def test_each_row_has_parameters_of_its_own(served: Served) -> None:
    """Three lengths and two stops in one job: each answer is the one to its request alone."""
    rows: list[dict[str, Any]] = [{"prompt": "the cat", "temperature": 0, "max_tokens": most} for most in (2, 5, 9)]
    ending = text(complete(served, "a dog", **GREEDY))[3:5]
    rows.append({"prompt": "a dog", **GREEDY, "stop": ending})
    rows.append({"prompt": "a dog", **GREEDY, "stop": ["nowhere"]})
    together = served.predict("complete", rows)
    alone = [served.predict("complete", row)[0] for row in rows]
    assert [(answer["choices"], answer["usage"]) for answer in together] == [
        (answer["choices"], answer["usage"]) for answer in alone
    ]
    assert [answer["usage"]["completion_tokens"] for answer in together[:3]] == [2, 5, 9]
    assert text(together[3]) != text(together[4])


def test_an_answer_ends_before_its_stop(served: Served) -> None:
    """The stop is no part of the text, wherever tokens begin, and is the reason; what follows it is not generated."""
    whole = complete(served, "the cat", **GREEDY)
    stop = text(whole)[4:7]
    cut = complete(served, "the cat", **GREEDY, stop=["never", stop])
    assert text(cut) == text(whole)[: text(whole).index(stop)]
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert cut["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]
    assert whole["choices"][0]["finish_reason"] == "length"


def test_a_stop_is_not_found_in_the_prompt(served: Served) -> None:
    """A stop that the prompt ends with, or that begins in the prompt, ends nothing."""
    plain = complete(served, "the cat", **GREEDY)
    across = "t" + text(plain)[0]
    for stop in ("cat", across):
        assert stop not in text(plain)
        assert text(complete(served, "the cat", **GREEDY, stop=stop)) == text(plain)


def test_the_end_of_text_is_a_stop(served: Served, root: Path) -> None:
    """An answer that the model ends counts up to the token that ends it, though longer answers share its batch."""
    tokenizer = tiny.tokenizer(root / "gpt2")
    prompt = "the cat"
    output = bare(root, "gpt2", "text-generation")(prompt, max_new_tokens=8, do_sample=False, return_tensors=True)
    new = output[0]["generated_token_ids"][len(tokenizer(prompt)["input_ids"]) :]
    rows = [{"prompt": prompt, **GREEDY}, {"prompt": "a dog and a bird", **GREEDY}]
    answers = served.predict("complete", rows, eos_token_id=new[3])
    assert answers[0]["choices"][0]["finish_reason"] == "stop"
    assert answers[0]["usage"]["completion_tokens"] == new.index(new[3]) + 1
    assert answers[1]["usage"]["completion_tokens"] == 8


def test_n_answers_to_one_request(served: Served) -> None:
    """Greedy answers are alike, drawn ones are not; the prompt is counted once, the answers all."""
    same = complete(served, "the cat", **GREEDY, n=3)
    assert [choice["index"] for choice in same["choices"]] == [0, 1, 2]
    assert len({choice["text"] for choice in same["choices"]}) == 1
    assert same["usage"]["completion_tokens"] == 24
    assert same["usage"]["prompt_tokens"] == complete(served, "the cat", **GREEDY)["usage"]["prompt_tokens"]
    drawn = complete(served, "the cat", temperature=2.0, max_tokens=8, n=4)
    assert len({choice["text"] for choice in drawn["choices"]}) > 1


def test_a_temperature_of_zero_is_greedy(served: Served) -> None:
    """Whatever the job says for all rows, and whatever `top_p` is."""
    expected = text(complete(served, "the cat", **GREEDY))
    request = {"prompt": "the cat", **GREEDY, "top_p": 0.9}
    for _ in range(3):
        (answer,) = served.predict("complete", request, do_sample=True, temperature=2.0, top_k=50)
        assert text(answer) == expected


def test_a_request_beats_its_job(served: Served) -> None:
    """`max_tokens` and a null in a request, `max_tokens` or `max_new_tokens` in the job's parameters."""
    rows = [{"prompt": "a dog", "temperature": 0, "max_tokens": 3}, {"prompt": "a dog", "max_tokens": None}]
    for name in ("max_new_tokens", "max_tokens"):
        answers = served.predict("complete", rows, **{name: 6, "temperature": 0})
        assert [answer["usage"]["completion_tokens"] for answer in answers] == [3, 6]


def test_without_a_limit_an_answer_has_the_room_that_is_left(served: Served) -> None:
    """A model of 64 positions answers up to its last, and a prompt that fills them is told how long it may be."""
    usage = complete(served, "the cat", temperature=0)["usage"]
    assert usage["total_tokens"] == tiny.POSITIONS + 1  # the last token needs no position
    with pytest.raises(InputTooLong, match=str(tiny.POSITIONS)):
        complete(served, "the cat " * 40)
    with pytest.raises(InputTooLong, match="max_tokens"):
        complete(served, "the cat", max_tokens=100)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream", True),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("tools", [{"type": "function"}]),
        ("logprobs", 2),
        ("seed", 7),
        ("model", 3),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", 10**9),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("n", 0),
        ("n", 129),
        ("stop", ""),
        ("stop", ["a", 1]),
    ],
)
def test_what_is_not_answered_is_refused_by_name(served: Served, name: str, value: Any) -> None:
    """No wish is ignored in silence, and no value ends on the device."""
    with pytest.raises(SchemaError, match=name):
        served.predict("complete", {"prompt": "a dog", name: value})


@pytest.mark.parametrize("name", ["stream", "frequency_penalty", "presence_penalty"])
def test_a_wish_for_nothing_is_granted(served: Served, name: str) -> None:
    """False, 0 and null ask for nothing."""
    rows = [{"prompt": "a dog", **GREEDY, name: value} for value in (False if name == "stream" else 0, None)]
    assert [text(answer) for answer in served.predict("complete", rows)] == [
        text(complete(served, "a dog", **GREEDY)) for _ in rows
    ]


@pytest.mark.parametrize("params", [{"n": 0}, {"max_tokens": "x"}, {"stream": True}, {"num_return_sequences": 2}])
def test_parameters_of_the_job_are_checked_too(served: Served, params: dict[str, Any]) -> None:
    """By name, before anything runs."""
    with pytest.raises(InvalidParams, match=next(iter(params))):
        served.predict("complete", {"prompt": "a dog"}, **params)


@pytest.mark.parametrize("row", ["a dog", {"prompt": ["a", "b"]}, {"prompt": None}, {"messages": HELLO}])
def test_a_row_is_one_prompt(served: Served, row: Any) -> None:
    """A bare text, several prompts or another key are refused."""
    with pytest.raises(SchemaError, match="prompt"):
        served.predict("complete", row)


@pytest.mark.parametrize(
    ("row", "framed_row"),
    [
        ({"prompt": "a", "n": 2}, {"prompt": "say a!", "n": 2}),
        ({"input": ["a", "b"]}, {"input": ["say a!", "say b!"]}),
    ],
)
def test_a_prompt_template_frames_what_a_request_asks(row: Any, framed_row: Any) -> None:
    """The prompt, or each text that is to be embedded, and nothing else of the request."""
    assert framed("say {prompt}!", row) == framed_row


# -- chat ------------------------------------------------------------------------------------------------------------


def test_a_chat_is_answered_through_the_tokenizers_template(served: Served, root: Path) -> None:
    """The answer is that of the bare pipeline in its chat mode, with the tokens of the template counted."""
    rows = [[{"role": "system", "content": "good"}, *HELLO], HELLO]
    answers = served.predict("chat", [{"messages": row, **GREEDY} for row in rows])
    pipe = bare(root, "llama", "text-generation")
    for row, answer in zip(rows, answers, strict=True):
        said = pipe(row, max_new_tokens=8, do_sample=False)[0]["generated_text"][-1]["content"]
        assert answer["object"] == "chat.completion"
        (choice,) = answer["choices"]
        assert choice["message"] == {"role": "assistant", "content": said.lstrip()}
        encoded = pipe.tokenizer.apply_chat_template(row, add_generation_prompt=True, return_dict=True)
        assert answer["usage"]["prompt_tokens"] == len(encoded["input_ids"])


def test_an_assistants_last_message_is_answered_and_not_gone_on_with(served: Served, root: Path) -> None:
    """The template asks for a new message, whoever spoke last."""
    messages = [*HELLO, {"role": "assistant", "content": "a dog"}]
    (answer,) = served.predict("chat", {"messages": messages, **GREEDY})
    prompt = tiny.tokenizer(root / "llama").apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    assert answer["usage"]["prompt_tokens"] == len(prompt["input_ids"])


def test_a_chat_needs_a_template(root: Path, served: Served) -> None:
    """Without one the model does not chat: it is not saved so, and of one that MLflow saved the error says why."""
    with pytest.raises(UnsupportedInferenceTask, match="no chat template"):
        served.add_directory("mute", root / "gpt2", "llm/v1/chat")
    components = {"task": "text-generation", **bare_parts(root / "gpt2")}
    with pytest.raises(UnsupportedTask, match="no chat template"):
        inference("llm/v1/chat", components, None, "mute").plan({})


def test_a_conversation_needs_a_template_or_a_token_that_ends_a_text(root: Path, served: Served) -> None:
    """Without both no message could be answered, so the save is refused."""
    with pytest.raises(PipelineMismatch, match="chat_template"):
        served.add_directory("still", _t5(root / "t5"), "conversational")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "hi",
        [{"role": "user"}],
        [{"role": "user", "content": 3}],
        [["user", "hi"]],
        [{"role": "boss", "content": "hi"}],
    ],
)
def test_messages_have_a_role_and_a_content(served: Served, messages: Any) -> None:
    """Anything else is refused before the template sees it."""
    with pytest.raises(SchemaError, match="messages"):
        served.predict("chat", {"messages": messages})


def test_what_the_template_refuses_is_the_rows_error(served: Served) -> None:
    """A template that raises makes a schema error which quotes nothing of the messages."""
    with pytest.raises(SchemaError, match="chat template refuses") as caught:
        served.predict("chat", {"messages": [{"role": "tool", "content": "secret"}]})
    assert "secret" not in caught.value.message


# -- what clients of the API send along ------------------------------------------------------------------------------


def test_the_model_and_the_user_change_nothing(served: Served) -> None:
    """Clients of OpenAI's API always name a model; the job has named it already."""
    along = {"model": "gpt", "user": "me"}
    (plain,) = served.predict("complete", {"prompt": "a dog", **GREEDY})
    (named,) = served.predict("complete", {"prompt": "a dog", **GREEDY, **along})
    assert named["choices"] == plain["choices"]
    assert served.predict("embed", {"input": "a dog", **along})["usage"]["total_tokens"] > 0


def test_the_newer_name_of_the_limit_means_the_same(served: Served) -> None:
    """`max_completion_tokens` is `max_tokens`; both at once are refused."""
    (answer,) = served.predict("complete", {"prompt": "a dog", "temperature": 0, "max_completion_tokens": 2})
    assert answer["usage"]["completion_tokens"] <= 2
    with pytest.raises(SchemaError, match="one of them"):
        served.predict("complete", {"prompt": "a dog", "max_tokens": 2, "max_completion_tokens": 2})


# -- embeddings ------------------------------------------------------------------------------------------------------


def test_an_embedding_is_the_first_tokens_vector(served: Served, root: Path) -> None:
    """One a text, in order, with the tokens of all texts counted."""
    rows = ["the cat sat", "a bird"]
    answer = served.predict("embed", {"input": rows})
    pipe = bare(root, "bert", "feature-extraction")
    features = [numpy.asarray(pipe(row)[0]) for row in rows]
    assert answer["object"] == "list"
    assert [(item["object"], item["index"]) for item in answer["data"]] == [("embedding", 0), ("embedding", 1)]
    for item, expected in zip(answer["data"], features, strict=True):
        numpy.testing.assert_allclose(item["embedding"], expected[0], atol=1e-5)
    tokens = sum(len(states) for states in features)
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_one_answer_a_row_of_embeddings(served: Served) -> None:
    """A list of requests, or a table's column, gets a list of answers; nothing of a row is in another's."""
    rows = [{"input": ["the cat", "a dog"]}, {"input": "a bird"}]
    answers = served.predict("embed", rows)
    assert [len(answer["data"]) for answer in answers] == [2, 1]
    table = served.predict("embed", Table({"input": ["a bird", "the cat"]}))
    numpy.testing.assert_allclose(table[0]["data"][0]["embedding"], answers[1]["data"][0]["embedding"], atol=1e-5)


def test_embeddings_can_be_the_mean_of_a_text(served: Served, root: Path) -> None:
    """`pooling` and `normalize` as in feature extraction."""
    answer = served.predict("embed", {"input": "the cat sat"}, pooling="mean", normalize=True)
    mean = numpy.asarray(bare(root, "bert", "feature-extraction")("the cat sat")[0]).mean(axis=0)
    numpy.testing.assert_allclose(answer["data"][0]["embedding"], mean / numpy.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("row", ["a", {"input": []}, {"input": [1]}, {"input": "a", "dimensions": 3}])
def test_an_embedding_request_has_texts_and_nothing_else(served: Served, row: Any) -> None:
    """Other rows are refused."""
    with pytest.raises(SchemaError, match="input"):
        served.predict("embed", row)


def test_an_embedding_has_its_shape_in_native_mode(served: Served) -> None:
    """`output="native"` gives the same answer: there is no other of this task."""
    answer = served.answer(PredictJob(model="embed", inputs={"input": "a cat"}, output="native"))
    assert answer["data"][0]["embedding"].shape == (32,)
