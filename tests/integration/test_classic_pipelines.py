"""The five pipelines that transformers 5 removed: built by transformers itself, with the classic inputs and outputs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import GenerationConfig
from transformers.pipelines import PIPELINE_REGISTRY

from tests import tiny, tiny_seq2seq
from tests.fleet import SHARED
from warmlane_workers.flavor import load_model
from warmlane_workers.pipelines import arguments
from warmlane_workers.pipelines.classic import Conversation, register
from warmlane_workers.pipelines.registry import canonical, model_type, pipeline_class

#: Model directories that MLflow wrote; none where ../shared is absent.
GOLDEN = SHARED / "golden"
ALL = sorted(path.name for path in GOLDEN.glob("*") if (path / "MLmodel").is_file())
#: Of them those whose classes transformers 5 removed: directory -> its pipeline's key, and what it was called with.
KEYS: dict[str, tuple[str, dict[str, Any]]] = {
    "summarization": ("summary_text", {"max_length": 12, "min_length": 2, "do_sample": False}),
    "translation_en_to_fr": ("translation_text", {}),
    "question-answering": ("answer", {}),
}
RECORDED = [pytest.param(name, number, id=f"{name}-{number}") for name in ALL if name in KEYS for number in range(2)]
CHATS = [name for name in ALL if name == "conversational"]

TEXTS = tiny.texts(3, 12)
#: 42 words, "the" being every seventh: more than any chunk below.
CONTEXT = " ".join(["the", *tiny.texts(6, 1, seed=5)] * 6)
QUESTIONS = [{"question": text, "context": CONTEXT} for text in ("who sat ?", "which bird ran ?", "why ?")]

made = cache(lambda make: make())


def pipe(task: str, make: Callable[[], tuple[Any, Any]], **kwargs: Any) -> Any:
    """A pipeline as an application builds one; the model is shared among tests, the tokenizer is its own."""
    model, tokenizer = made(make)
    return transformers.pipeline(task, model=model, tokenizer=copy.deepcopy(tokenizer), device="cpu", **kwargs)


def recorded(name: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())["runs"]
    return runs


@pytest.mark.parametrize("name", ALL)
def test_every_directory_of_mlflow_loads_as_a_pipeline(name: str) -> None:
    """Each model directory that MLflow wrote under transformers 4.41 loads as the pipeline that it was saved from."""
    document = (GOLDEN / name / "MLmodel").read_text()
    loaded = load_model(GOLDEN / name, device="cpu")
    assert f"instance_type: {type(loaded).__name__}\n" in document
    assert f" task: {loaded.task}\n" in document


@pytest.mark.parametrize(("name", "number"), RECORDED)
def test_answers_are_those_of_transformers_4(name: str, number: int) -> None:
    """A pipeline that transformers 5 lacks answers what MLflow's pyfunc gave under transformers 4.41."""
    key, params = KEYS[name]
    run = recorded(name)[number]
    answers = load_model(GOLDEN / name, device="cpu")(run["input"], **params)
    rows = answers if isinstance(answers, list) else [answers]
    assert [row[key].strip() for row in rows] == run["output"]


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_goes_on_as_under_transformers_4(name: str) -> None:
    """The first answer of a chat is the recorded one; the second begins as recorded, up to two tokens that are equally
    likely."""
    chatbot, (first, second) = load_model(GOLDEN / name, device="cpu"), recorded(name)
    chat = chatbot(Conversation(first["input"]))
    assert chat.generated_responses[0].strip() == first["output"]
    chat.add_user_input(second["input"][0])
    answer = chatbot(chat, max_new_tokens=30).generated_responses[1].strip()
    assert second["output"].startswith(answer)


# Names


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("conversational", "ConversationalPipeline"),
        ("question-answering", "QuestionAnsweringPipeline"),
        ("summarization", "SummarizationPipeline"),
        ("text2text-generation", "Text2TextGenerationPipeline"),
        ("translation", "TranslationPipeline"),
        ("translation_xx_to_yy", "TranslationPipeline"),
    ],
)
def test_tasks_have_their_classic_names(task: str, name: str) -> None:
    """Each classic task is itself the name that is recorded, a pair of languages too, and has the classic class."""
    assert canonical(task) == task
    assert pipeline_class(task).__name__ == name


@pytest.mark.parametrize(
    ("task", "config", "model"),
    [
        ("summarization", {"model_type": "t5"}, "T5ForConditionalGeneration"),
        ("translation_en_to_fr", {"model_type": "marian"}, "MarianMTModel"),
        ("question-answering", {"model_type": "bert", "architectures": ["BertModel"]}, "BertForQuestionAnswering"),
        ("conversational", {"model_type": "gpt2"}, "GPT2LMHeadModel"),
        ("conversational", {"model_type": "blenderbot"}, "BlenderbotForConditionalGeneration"),
    ],
)
def test_tasks_know_their_models(task: str, config: dict[str, Any], model: str) -> None:
    """A classic task picks the class that serves it; a chat is held by an encoder-decoder, or else by a decoder."""
    assert model_type(task, config) == model


def test_a_task_that_transformers_has_stays_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registering leaves a task alone that transformers has a pipeline for."""
    own = {**PIPELINE_REGISTRY.supported_tasks, "summarization": {"impl": transformers.Pipeline, "pt": ()}}
    monkeypatch.setattr(PIPELINE_REGISTRY, "supported_tasks", own)
    register()
    assert pipeline_class("summarization") is transformers.Pipeline


# Text to text


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("summarization", "summary_text"),
        ("text2text-generation", "generated_text"),
        ("translation_en_to_fr", "translation_text"),
    ],
)
def test_text_to_text_gives_one_dict_a_text(task: str, key: str) -> None:
    """One text gives a list of one dict, a list of texts one dict each; the key is the task's."""
    run = pipe(task, tiny_seq2seq.t5)
    alone = run(TEXTS[0])
    assert [list(record) for record in alone] == [[key]]
    assert run(TEXTS[:2])[0] == alone[0]


@pytest.mark.parametrize("make", [tiny_seq2seq.t5, tiny_seq2seq.bart])
@pytest.mark.parametrize("params", [{}, {"return_tensors": True}, {"num_beams": 2}])
def test_texts_in_a_batch_answer_as_alone(make: Callable[[], tuple[Any, Any]], params: dict[str, Any]) -> None:
    """A batch of texts of unlike lengths gives what each gives alone, token for token."""
    run = pipe("text2text-generation", make)
    alone = [run(text, **params)[0] for text in TEXTS]
    batch = run(TEXTS, batch_size=3, **params)
    assert len({str(record) for record in alone}) == 3
    assert [str(record) for record in batch] == [str(record) for record in alone]


def test_several_sequences_make_a_list_a_text() -> None:
    """`num_return_sequences` gives each text a list of that many dicts."""
    found = pipe("summarization", tiny_seq2seq.t5)(TEXTS, num_beams=2, num_return_sequences=2, batch_size=3)
    assert [len(records) for records in found] == [2, 2, 2]


def test_the_checkpoints_settings_for_a_task_hold() -> None:
    """`task_specific_params` give the prefix and the lengths of the task by its own name, and of no other."""
    summaries = pipe("summarization", tiny_seq2seq.t5)
    plain = pipe("text2text-generation", tiny_seq2seq.t5)
    (ids,) = summaries(TEXTS[0], return_tensors=True)
    (same,) = plain("good : " + TEXTS[0], max_length=9, num_beams=2, return_tensors=True)
    assert ids["summary_token_ids"].tolist() == same["generated_token_ids"].tolist()
    assert pipe("translation_en_to_de", tiny_seq2seq.t5).prompt_prefix == ""


def test_a_call_wins_over_construction_and_that_over_the_checkpoint() -> None:
    """A length given at the call holds before one of the constructor, and that before the checkpoint's."""

    def length(run: Any, **params: Any) -> int:
        return len(run(TEXTS[0], return_tensors=True, num_beams=1, **params)[0]["summary_token_ids"])

    assert length(pipe("summarization", tiny_seq2seq.t5)) == 9
    short = pipe("summarization", tiny_seq2seq.t5, max_new_tokens=4)
    assert length(short) == 1 + 4
    assert length(short, max_new_tokens=2) == 1 + 2
    assert length(short, generation_config=GenerationConfig(max_new_tokens=3)) == 1 + 3  # type: ignore[no-untyped-call]


def test_without_any_length_an_answer_has_twenty_tokens() -> None:
    """Where neither the caller nor the checkpoint gives a length, it is 20 with the token that starts the decoder."""
    (record,) = pipe("text2text-generation", tiny_seq2seq.t5)(TEXTS[0], return_tensors=True)
    assert len(record["generated_token_ids"]) == 20


def test_calls_change_neither_model_nor_tokenizer() -> None:
    """Building pipelines and calling them leaves the model's configurations as they were."""
    model, _ = made(tiny_seq2seq.t5)
    before = model.config.to_dict(), model.generation_config.to_dict()
    pipe("summarization", tiny_seq2seq.t5, max_new_tokens=3)(TEXTS[0], num_beams=3)
    assert (model.config.to_dict(), model.generation_config.to_dict()) == before


def test_a_stop_sequence_ends_the_answer() -> None:
    """Generation ends with `stop_sequence`, which the answer includes."""
    run = pipe("text2text-generation", tiny_seq2seq.t5)
    whole = run(TEXTS[1])[0]["generated_text"]
    stop = whole.split()[2]
    assert run(TEXTS[1], stop_sequence=stop)[0]["generated_text"] == whole[: whole.index(stop) + len(stop)]


def test_truncation_cuts_inputs_at_the_tokenizers_longest() -> None:
    """With `truncation=True` the text beyond the tokenizer's longest changes nothing."""
    run = pipe("text2text-generation", tiny_seq2seq.t5)
    run.tokenizer.model_max_length = 6  # [CLS], four words, [SEP]
    assert run("the cat sat on a dog", truncation=True) == run("the cat sat on")


def test_texts_come_from_a_generator() -> None:
    """A generator of texts gives an iterator of their answers."""
    run = pipe("summarization", tiny_seq2seq.t5)
    assert list(run(text for text in TEXTS[:2])) == [run(text) for text in TEXTS[:2]]


@pytest.mark.parametrize("bad", [7, None, {"text": "a"}, [7], [["a"]]])
def test_text_to_text_refuses_what_is_no_text(bad: Any) -> None:
    """An input that is neither a text nor a list of texts is a ValueError."""
    with pytest.raises(ValueError, match="a text or a list of texts"):
        pipe("summarization", tiny_seq2seq.t5)(bad)


@pytest.mark.parametrize(("make", "reason"), [(tiny_seq2seq.chatter, "no encoder"), (tiny_seq2seq.reader, "no text")])
def test_text_to_text_refuses_models_of_other_kinds(make: Callable[[], tuple[Any, Any]], reason: str) -> None:
    """A model without a decoder or without an encoder makes no summarizer."""
    with pytest.raises(ValueError, match=reason):
        pipe("summarization", make)


# Translation


def test_languages_choose_the_output() -> None:
    """`tgt_lang` sets the code that the output starts with, in a batch too; the tokenizer's own language stays."""
    run = pipe("translation", tiny_seq2seq.mbart)
    german, french = (run.tokenizer.convert_tokens_to_ids(code) for code in ("de_DE", "fr_XX"))
    found = run(["the cat", "a dog sat"], src_lang="ro_RO", tgt_lang="de_DE", batch_size=2, return_tensors=True)
    assert [int(record["translation_token_ids"][1]) for record in found] == [german, german]
    (record,) = run("the cat", src_lang="ro_RO", tgt_lang="fr_XX", return_tensors=True)
    assert int(record["translation_token_ids"][1]) == french
    assert run.tokenizer.src_lang == "en_XX"


@pytest.mark.parametrize(
    "params", [{}, {"src_lang": "en_XX", "tgt_lang": "tlh"}, {"src_lang": "tlh", "tgt_lang": "fr_XX"}]
)
def test_a_language_that_the_model_needs_and_lacks_is_refused(params: dict[str, str]) -> None:
    """A multilingual model refuses a translation without languages, or between any that it does not know."""
    with pytest.raises(ValueError, match="src_lang"):
        pipe("translation", tiny_seq2seq.mbart)("the cat", **params)


def test_a_task_names_its_languages() -> None:
    """`translation_xx_to_yy` gives the languages, which a call's replace."""
    run = pipe("translation_en_to_fr", tiny_seq2seq.t5)
    assert run._preprocess_params == {"src_lang": "en", "tgt_lang": "fr"}
    assert pipe("translation_en_to_fr", tiny_seq2seq.t5, src_lang="ro", tgt_lang="de")._preprocess_params == {
        "src_lang": "ro",
        "tgt_lang": "de",
    }


def test_a_pipelines_arguments_survive() -> None:
    """What a classic pipeline was constructed with is read off it as plain data, and given to another."""
    stopping = {"num_beams": 2, "max_new_tokens": 5, "truncation": True, "stop_sequence": "dog"}
    record = json.loads(json.dumps(arguments.dump(pipe("summarization", tiny_seq2seq.t5, **stopping))))
    other = pipe("summarization", tiny_seq2seq.t5)
    arguments.restore(other, record)
    assert other(TEXTS) == pipe("summarization", tiny_seq2seq.t5, **stopping)(TEXTS)


# Questions


@pytest.mark.parametrize(
    ("args", "kwargs", "count"),
    [
        (("who ?", CONTEXT), {}, 1),
        (({"question": "who ?", "context": CONTEXT},), {}, 1),
        (([{"question": "who ?", "context": CONTEXT}],), {}, 1),
        ((), {"question": "who ?", "context": CONTEXT}, 1),
        ((QUESTIONS,), {}, 3),
        (tuple(QUESTIONS), {}, 3),
        ((), {"question": ["who ?", "why ?"], "context": CONTEXT}, 2),
        ((), {"question": ["who ?", "why ?"], "context": [CONTEXT, CONTEXT]}, 2),
    ],
)
def test_questions_come_in_many_forms(args: tuple[Any, ...], kwargs: dict[str, Any], count: int) -> None:
    """One question gives a dict of score, start, end and answer, in whatever form; several give a list of them."""
    found = pipe("question-answering", tiny_seq2seq.reader)(*args, max_seq_len=60, **kwargs)
    answers = [found] if count == 1 else found
    assert [sorted(answer) for answer in answers] == [["answer", "end", "score", "start"]] * count


@pytest.mark.parametrize("params", [{}, {"max_seq_len": 24, "doc_stride": 6}, {"align_to_words": False}])
def test_answers_are_where_they_are_said_to_be(params: dict[str, Any]) -> None:
    """`context[start:end]` is the answer, in each chunk of a long context too."""
    run = pipe("question-answering", tiny_seq2seq.reader)
    answers = run(question="who ?", context=CONTEXT, top_k=40, **{"max_seq_len": 60, **params})
    assert len(answers) == 40
    assert all(answer["answer"] == CONTEXT[answer["start"] : answer["end"]] != "" for answer in answers)
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)


def test_a_long_context_is_read_to_its_end() -> None:
    """Chunks that overlap cover the context: an answer is found in its last words too."""
    run = pipe("question-answering", tiny_seq2seq.reader)
    answers = run(question="who ?", context=CONTEXT, max_seq_len=24, doc_stride=6, top_k=2000)
    assert {answer["start"] for answer in answers} >= {CONTEXT.index(" ") + 1, CONTEXT.rindex(" ") + 1}


def test_the_likeliest_span_is_the_answer() -> None:
    """The score is the product of the softmax, over context and [CLS], of the start's and of the end's logits."""
    run = pipe("question-answering", tiny_seq2seq.reader)
    question, context = "cat sat ?", "the cat sat in a red tree"
    encoded = run.tokenizer(question, context, return_tensors="pt", return_token_type_ids=True)
    with torch.no_grad():
        output = run.model(**encoded)
    inside = torch.tensor([0, *range(5, 5 + 7)])  # [CLS] cat sat ? [SEP] the cat … tree [SEP]
    start, end = (torch.softmax(logits[0][inside], 0)[1:] for logits in (output.start_logits, output.end_logits))
    best = torch.triu(start[:, None] * end[None, :])
    first, last = divmod(int(best.argmax()), 7)
    found = run(question=question, context=context)
    assert found["answer"] == " ".join(context.split()[first : last + 1])
    assert found["score"] == pytest.approx(float(best.max()), rel=1e-5)


def test_questions_in_a_batch_answer_as_alone() -> None:
    """Questions of unlike lengths, their chunks batched across them, get what each gets alone."""
    run = pipe("question-answering", tiny_seq2seq.reader, max_seq_len=24, doc_stride=6)
    alone = [run(pair) for pair in QUESTIONS]
    for one, other in zip(run(QUESTIONS, batch_size=4), alone, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        assert (one["start"], one["end"]) == (other["start"], other["end"])


def test_answers_are_whole_words_unless_told_otherwise() -> None:
    """`align_to_words` widens an answer that begins or ends within a word."""
    run, asked = pipe("question-answering", tiny_seq2seq.reader, top_k=60), ("who ?", "kzx vvq jwk")
    borders = {0, 3, 4, 7, 8, 11}
    assert {place for answer in run(*asked) for place in (answer["start"], answer["end"])} <= borders
    assert any(answer["start"] not in borders for answer in run(*asked, align_to_words=False))


def test_an_answer_has_at_most_so_many_tokens() -> None:
    """`max_answer_len` bounds the tokens of an answer."""
    run = pipe("question-answering", tiny_seq2seq.reader, top_k=40, max_seq_len=60)
    assert {len(answer["answer"].split()) for answer in run("who ?", CONTEXT, max_answer_len=2)} == {1, 2}


def test_no_answer_is_an_answer_where_asked_for() -> None:
    """With `handle_impossible_answer` the empty answer is among them, with a probability of its own."""
    run = pipe("question-answering", tiny_seq2seq.reader, top_k=99)
    (empty,) = (found for found in run("who ?", "the cat", handle_impossible_answer=True) if not found["answer"])
    assert (empty["start"], empty["end"]) == (0, 0)
    assert 0 < empty["score"] < 1
    assert all(found["answer"] for found in run("who ?", "the cat"))


def test_a_blank_context_has_the_empty_answer() -> None:
    """A context without a token gives the empty answer, with score 0."""
    found = pipe("question-answering", tiny_seq2seq.reader)("who ?", "   ")
    assert found == {"score": 0.0, "start": 0, "end": 0, "answer": ""}


def test_a_long_question_is_cut() -> None:
    """What comes after `max_question_len` tokens of a question changes nothing."""
    run = pipe("question-answering", tiny_seq2seq.reader)
    assert run("cat sat in a tree", "the cat", max_question_len=2) == run("cat sat", "the cat")


@pytest.mark.parametrize(
    "asked",
    [
        {"args": ("who ?",)},
        {"args": ({"question": "who ?"},)},
        {"args": ({"question": "who ?", "context": ""},)},
        {"args": ({"question": "", "context": "the cat"},)},
        {"args": ({"question": "who ?", "context": 7},)},
        {"question": "who ?"},
        {"question": "who ?", "context": ["a", "b"]},
        {"question": ["a", "b"], "context": ["a"]},
        {"args": ("who ?", "the cat"), "top_k": 0},
        {"args": ("who ?", "the cat"), "max_answer_len": 0},
        {"args": ("who ?", "the cat"), "max_seq_len": 8, "doc_stride": 9},
        {"args": ("who ?", "the cat"), "max_seq_len": 5},
    ],
)
def test_questions_of_no_form_are_refused(asked: dict[str, Any]) -> None:
    """A question or a context that is missing, empty or no text, and a parameter out of range, are ValueErrors."""
    args = asked.pop("args", ())
    with pytest.raises(ValueError, match=r"question|context|must be at least 1|doc_stride"):
        pipe("question-answering", tiny_seq2seq.reader)(*args, **asked)


# Chats

GREETING = [{"role": "user", "content": "the cat sat"}]
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}> {% endif %}"
)


def chatbot(**kwargs: Any) -> Any:
    return pipe("conversational", tiny_seq2seq.chatter, max_new_tokens=6, **kwargs)


def test_an_answer_is_appended() -> None:
    """A conversation comes back itself, the assistant's message at its end, and takes another turn."""
    run, chat = chatbot(), Conversation("the cat sat")
    assert run(chat) is chat
    chat.add_user_input("a dog ran")
    assert [message["role"] for message in run(chat)] == ["user", "assistant", "user", "assistant"]
    assert len(chat.generated_responses) == 2


def test_messages_are_a_conversation() -> None:
    """A list of messages, or a text, answers as the conversation of them, and the caller's list stays as it is."""
    run, messages = chatbot(), copy.deepcopy(GREETING)
    answers = [run(given)[-1] for given in (messages, "the cat sat", Conversation("the cat sat"))]
    assert answers[0] == answers[1] == answers[2]
    assert messages == GREETING


@pytest.mark.parametrize("padding", [None, "<|endoftext|>"])
def test_chats_in_a_batch_answer_as_alone(padding: str | None) -> None:
    """Chats of unlike lengths in a batch get what each gets alone, whether there is a padding token or not."""
    run = chatbot()
    run.tokenizer.pad_token = padding
    alone = [run(text).generated_responses for text in TEXTS]
    assert len({str(answer) for answer in alone}) == 3
    assert [chat.generated_responses for chat in run(TEXTS, batch_size=3)] == alone
    assert run.tokenizer.padding_side == "right"


def test_an_encoder_decoder_chats_too() -> None:
    """The answer of an encoder-decoder is all of its output."""
    run = pipe("conversational", tiny_seq2seq.t5, max_new_tokens=4)
    run.tokenizer.chat_template = "[CLS] {{ messages[0].content }} [SEP]"
    (same,) = pipe("text2text-generation", tiny_seq2seq.t5, max_new_tokens=4)("the cat")
    assert run("the cat").generated_responses == [same["generated_text"]]


def test_a_template_makes_the_prompt() -> None:
    """The tokenizer's chat template is used where there is one; else each message ends with the end-of-text token."""
    run = chatbot()
    chat = Conversation([*GREETING, {"role": "assistant", "content": "so"}, {"role": "user", "content": "why"}])
    joined = run.tokenizer.decode(run.preprocess(chat)["input_ids"][0])
    run.tokenizer.chat_template = TEMPLATE
    templated = run.tokenizer.decode(run.preprocess(chat)["input_ids"][0])
    assert joined == "the cat sat<|endoftext|>so<|endoftext|>why<|endoftext|>"
    assert templated == "user: the cat sat\nassistant: so\nuser: why\n> "


@pytest.mark.parametrize(
    "bad",
    [
        7,
        Conversation(),
        [{"role": "judge", "content": "a"}],
        [{"role": "user"}],
        [[{"role": "user", "content": 7}]],
    ],
)
def test_what_is_no_conversation_is_refused(bad: Any) -> None:
    """An input without a message, or with one that is not a role and a text, is a ValueError."""
    with pytest.raises(ValueError, match=r"conversation|message"):
        chatbot()(bad)


@pytest.mark.parametrize(
    ("task", "make"),
    [
        ("summarization", tiny_seq2seq.t5),
        ("question-answering", tiny_seq2seq.reader),
        ("conversational", tiny_seq2seq.chatter),
    ],
)
def test_nothing_gives_nothing(task: str, make: Callable[[], tuple[Any, Any]]) -> None:
    """An empty list of inputs gives an empty list."""
    assert pipe(task, make)([]) == []


def test_a_chat_needs_a_way_to_end_a_turn() -> None:
    """A tokenizer with neither a chat template nor an end-of-text token is refused by name."""
    run = chatbot()
    run.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="chat_template"):
        run("the cat")


def test_a_checkpoint_directory_makes_a_pipeline(tmp_path: Path) -> None:
    """`transformers.pipeline` reads a checkpoint for a classic task, and nothing of ours is stored with a model."""
    saved = pipe("summarization", tiny_seq2seq.t5)
    saved.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    assert transformers.pipeline("summarization", model=str(tmp_path), device="cpu")(TEXTS) == saved(TEXTS)
