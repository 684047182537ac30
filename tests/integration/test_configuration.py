"""Where a predict's parameters come from: the configuration saved, that of the load, the signature, the job itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers as tf

from tests import tiny_seq2seq, tiny_text
from tests.inprocess import Records, Served, seeded
from warmlane.errors import InvalidInput, InvalidParams
from warmlane.jobs import LoadJob, PredictJob
from warmlane_workers.context import JobContext

DEFAULTS = [{"name": "top_k", "type": "long", "default": 3, "shape": None}]
TEXT = "the cat sat"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("configured")) as engine:
        classify = seeded(tiny_text.text_classification)
        engine.add("plain", "text-classification", classify)
        engine.add("saved", "text-classification", classify, model_config={"top_k": 1, "function_to_apply": "none"})
        string = [{"type": "string", "required": True}]
        signature = {"inputs": string, "outputs": None, "params": DEFAULTS}
        engine.add("signed", "text-classification", classify, model_config={"top_k": 1}, signature=signature)
        engine.add("chat", "conversational", dict(zip(("model", "tokenizer"), tiny_seq2seq.chatter(), strict=True)))
        yield engine


def load(served: Served, name: str, **options: Any) -> dict[str, Any]:
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    return served.engine.load(LoadJob(model=name, **options), context)


def labels(served: Served, name: str, **params: Any) -> int:
    """How many labels a text gets."""
    (found,) = served.answer(PredictJob(model=name, inputs=[TEXT], params=params))["label"]
    return len(found) if isinstance(found, list) else 1


def test_what_counts_more_comes_later(served: Served) -> None:
    """The configuration saved, under that of the load, under the signature's defaults, under the job's params."""
    load(served, "saved")
    load(served, "signed")
    assert labels(served, "saved") == 1
    load(served, "saved", model_config={"top_k": 2})
    load(served, "signed", model_config={"top_k": 2})
    assert (labels(served, "saved"), labels(served, "signed")) == (2, 3)
    assert (labels(served, "saved", top_k=1), labels(served, "signed", top_k=1)) == (1, 1)


def test_a_key_that_the_load_leaves_out_stays_as_it_was_saved(served: Served) -> None:
    """Configurations are merged key by key."""
    load(served, "saved", model_config={"top_k": 2})
    scores = served.answer(PredictJob(model="saved", inputs=[TEXT]))["score"][0]
    expected = served.bare["saved"](TEXT, top_k=2, function_to_apply="none")
    assert scores == pytest.approx([label["score"] for label in expected], abs=1e-4)


@pytest.mark.parametrize("end", ["load", "unload"])
def test_it_lasts_until_the_model_is_loaded_again_or_unloaded(served: Served, end: str) -> None:
    """Afterwards the saved configuration counts alone."""
    load(served, "saved", model_config={"top_k": 3})
    assert labels(served, "saved") == 3
    load(served, "saved") if end == "load" else served.engine.unload("saved")
    assert labels(served, "saved") == 1


def test_no_weights_are_read_again_for_it(served: Served) -> None:
    """Another configuration is another way to ask the model that is warm."""
    load(served, "plain")
    (before,) = [entry.value for entry in served.engine.cache.entries() if entry.key.name == "plain"]
    load(served, "plain", model_config={"top_k": 2})
    (after,) = [entry.value for entry in served.engine.cache.entries() if entry.key.name == "plain"]
    assert after is before


@pytest.mark.parametrize(
    ("config", "field"), [({"top": 2}, "model_config.top"), ({"top_k": "x"}, "model_config.top_k")]
)
def test_a_configuration_that_every_predict_would_fail_by_is_refused(
    served: Served, config: dict[str, Any], field: str
) -> None:
    """Unknown and ill-typed keys are named at the load, and what was in force stays so."""
    load(served, "saved", model_config={"top_k": 2})
    with pytest.raises(InvalidParams, match=r"^model_config") as refused:
        load(served, "saved", model_config=config)
    assert refused.value.details["field"] == field
    assert labels(served, "saved") == 2
    if "allowed" in refused.value.details:
        assert "top_k" in refused.value.details["allowed"]


def test_conversations_go_by_no_configuration(served: Served) -> None:
    """As in MLflow; what would have no effect is refused."""
    with pytest.raises(InvalidInput, match="params"):
        load(served, "chat", model_config={"max_new_tokens": 3})


class InstructionTextGenerationPipeline(tf.TextGenerationPipeline):
    """Known by its name."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same model, saved from two pipelines."""
    with Served(tmp_path_factory.mktemp("told")) as engine:
        made = seeded(tiny_text.text_generation)
        engine.add("plain", "text-generation", made)
        engine.add_pipeline("instructed", InstructionTextGenerationPipeline(task="text-generation", **made))  # type: ignore[no-untyped-call]
        yield engine


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> str:
    """What the pipeline says to the prompt "Q", whatever the model does."""
    text = "Q\n\nA: one\n  two \n"
    monkeypatch.setattr(tf.TextGenerationPipeline, "postprocess", lambda *_, **__: [{"generated_text": text}])
    return text


@pytest.mark.parametrize(
    ("model", "params", "answer"),
    [
        ("instructed", {}, "Q\n\nA: one\n  two"),
        ("instructed", {"include_prompt": False}, "one\n  two"),
        ("instructed", {"collapse_whitespace": True}, "Q A: one two"),
        ("instructed", {"include_prompt": False, "collapse_whitespace": True}, "one two"),
        ("plain", {"include_prompt": False}, "Q\n\nA: one\n  two"),
        ("plain", {"include_prompt": False, "collapse_whitespace": True}, "Q A: one two"),
    ],
)
@pytest.mark.usefixtures("said")
def test_texts_are_trimmed_as_the_guide_says(told: Served, model: str, params: dict[str, Any], answer: str) -> None:
    """A prompt is left out of an instructional pipeline's text, and runs of white space of any."""
    assert told.predict(model, "Q", max_new_tokens=2, **params) == [answer]


@pytest.mark.usefixtures("said")
def test_a_configuration_trims_as_params_do(told: Served) -> None:
    """`model_config` has them in the guide; params are over it."""
    load(told, "plain", model_config={"collapse_whitespace": True})
    assert told.answer(PredictJob(model="plain", inputs="Q")) == ["Q A: one two"]
    job = PredictJob(model="plain", inputs="Q", params={"collapse_whitespace": False})
    assert told.answer(job) == ["Q\n\nA: one\n  two"]


@pytest.mark.parametrize("task", ["text-generation", "conversational"])
def test_texts_that_a_checkpoint_stops_at_stop_its_answers(tmp_path: Path, task: str) -> None:
    """`stop_strings` of a generation configuration need the tokenizer, which the bare pipeline does not give."""
    made = seeded(tiny_text.endless_generation)
    made["tokenizer"].chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    made["model"].generation_config.update(do_sample=False, max_new_tokens=40)
    with Served(tmp_path) as served:
        served.add("endless", task, made)
        made["model"].generation_config.stop_strings = ["o", "e"]
        served.add("stops", task, made)
        (whole,), (answer,) = (served.predict(model, ["the cat"]) for model in ("endless", "stops"))
    assert whole.startswith(answer)
    assert len(answer) < len(whole)


def test_trimming_is_true_or_false(told: Served) -> None:
    """Anything else is refused by its name."""
    with pytest.raises(InvalidParams, match=r"params\.include_prompt"):
        told.predict("plain", "Q", include_prompt="no")


def test_the_pieces_of_a_collapsed_text_make_the_answer(told: Served) -> None:
    """White space that becomes one space does so in each piece as in the whole."""
    records = Records()
    params = {"collapse_whitespace": True, "max_new_tokens": 40}
    answer = told.told(PredictJob(model="plain", inputs="the  cat\n\nsat", params=params, stream=True), records)
    assert "".join(piece.text for piece in records.pieces) == answer[0]
    assert answer[0].startswith("the cat sat")


def test_a_prompt_that_may_be_left_out_cannot_stream(told: Served) -> None:
    """Whether a text begins with it is known when it is there: refused, with what to leave out."""
    with pytest.raises(InvalidParams, match="leave `include_prompt` out"):
        told.answer(PredictJob(model="instructed", inputs="Q", params={"include_prompt": False}, stream=True))


def test_other_tasks_are_not_trimmed(served: Served) -> None:
    """The guide: a configuration with these keys has no effect there, and fails nothing."""
    served.add(
        "other", "text-classification", seeded(tiny_text.text_classification), model_config={"include_prompt": False}
    )
    assert labels(served, "other") == 1
