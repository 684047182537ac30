"""MLflow's pyfunc over warmlane's directories: the same answers as the bare pipeline's, and the same options."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from mlflow.models.utils import load_serving_example, validate_serving_input

from interop.questions import PYFUNCS, QUESTIONS, TEXTS, picture, same
from tests.tiny_native import MAKERS
from warmlane_workers import flavor

Made = Callable[[str], Any]
Saved = Callable[[str], Path]
TEXT = TEXTS[0]


@pytest.fixture
def generator(bare: Made) -> Any:
    return bare("text-generation")


def predict(path: Path, data: Any, **options: Any) -> Any:
    return mlflow.pyfunc.load_model(str(path)).predict(data, **options)


@pytest.mark.parametrize("kind", PYFUNCS)
def test_a_pyfunc_answers_as_the_bare_pipeline(
    kind: str, bare: Made, answer: Made, ours: Saved, tmp_path: Path
) -> None:
    """`mlflow.pyfunc.load_model(dir).predict` gives the bare pipeline's answer in the guide's shape."""
    question = QUESTIONS[kind]
    path = tmp_path / "model"
    if isinstance(question.pyfunc, np.ndarray):  # sound as numbers: the default signature is one of bytes
        flavor.save_model(bare(kind), path, signature=infer_signature(question.pyfunc, "an answer"))
    else:
        path = ours(kind)
    assert question.shown is not None
    assert same(predict(path, question.pyfunc), question.shown(answer(kind)))


def test_a_pyfunc_of_pictures_answers_as_mlflows_own(ours: Saved, theirs: Saved) -> None:
    """A picture in base64 gets from warmlane's directory what it gets from MLflow's."""
    file = io.BytesIO()
    picture().save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    kind = "image-classification"
    assert same(predict(ours(kind), text), predict(theirs(kind), text))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_pyfunc_is_there_where_mlflow_makes_one(kind: str, ours: Saved, theirs: Saved) -> None:
    """Kinds that MLflow keeps out of pyfunc have no `python_function` in warmlane's directories, others do."""
    assert set(Model.load(ours(kind)).flavors) == set(Model.load(theirs(kind)).flavors)


def test_model_config_holds_for_each_predict(generator: Any, tmp_path: Path) -> None:
    """`model_config` is applied to each predict."""
    flavor.save_model(generator, tmp_path / "model", model_config={"max_new_tokens": 2, "return_full_text": False})
    (shown,) = predict(tmp_path / "model", TEXT)
    assert shown == generator(TEXT, max_new_tokens=2, return_full_text=False)[0]["generated_text"].strip()


def test_model_config_gives_way_at_load(generator: Any, tmp_path: Path) -> None:
    """What `pyfunc.load_model(model_config=…)` says wins over what was saved."""
    flavor.save_model(generator, tmp_path / "model", model_config={"max_new_tokens": 2})
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"), model_config={"max_new_tokens": 4})
    assert loaded.predict(TEXT) == [generator(TEXT, max_new_tokens=4)[0]["generated_text"].strip()]


def test_the_params_of_an_example_are_the_schema(generator: Any, tmp_path: Path) -> None:
    """An example's params are the defaults, and what a predict's `params` may say."""
    flavor.save_model(generator, tmp_path / "model", input_example=(TEXT, {"max_new_tokens": 2}))
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert loaded.predict(TEXT) == [generator(TEXT, max_new_tokens=2)[0]["generated_text"].strip()]
    longer = loaded.predict(TEXT, params={"max_new_tokens": 4})
    assert longer == [generator(TEXT, max_new_tokens=4)[0]["generated_text"].strip()]
    with pytest.raises(MlflowException, match="Invalid parameters"):
        loaded.predict(TEXT, params={"max_new_tokens": "many"})


def test_a_prompt_template_frames_each_input(generator: Any, tmp_path: Path) -> None:
    """A template saved by warmlane is applied by MLflow, and the answer is without it."""
    flavor.save_model(generator, tmp_path / "model", prompt_template="say: {prompt}!")
    framed = generator(f"say: {TEXT}!", return_full_text=False)[0]["generated_text"].strip()
    assert predict(tmp_path / "model", [TEXT]) == [framed]


def test_completions_answer_as_openai_does(generator: Any, tmp_path: Path) -> None:
    """A model saved for `llm/v1/completions` answers a prompt with choices and usage."""
    flavor.save_model(generator, tmp_path / "model", task="llm/v1/completions")
    (shown,) = predict(tmp_path / "model", {"prompt": TEXT, "max_tokens": 3})
    new = generator(TEXT, max_new_tokens=3, return_full_text=False)[0]["generated_text"]
    assert shown["choices"][0]["text"].strip() == new.strip()
    assert shown["usage"]["completion_tokens"] == 3


def test_chat_answers_as_openai_does(bare: Made, tmp_path: Path) -> None:
    """A model saved for `llm/v1/chat` answers messages by its chat template."""
    pipeline = bare("text-generation")
    pipeline.tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    try:
        flavor.save_model(pipeline, tmp_path / "model", task="llm/v1/chat")
    finally:
        pipeline.tokenizer.chat_template = None
    (shown,) = predict(tmp_path / "model", {"messages": [{"role": "user", "content": "a cat"}], "max_tokens": 3})
    assert shown["object"] == "chat.completion"
    assert shown["choices"][0]["message"]["role"] == "assistant"


def test_embeddings_answer_as_openai_does(bare: Made, tmp_path: Path) -> None:
    """A model saved for `llm/v1/embeddings` answers each input with a vector."""
    flavor.save_model(bare("feature-extraction"), tmp_path / "model", task="llm/v1/embeddings")
    shown = predict(tmp_path / "model", {"input": TEXTS})
    assert [entry["index"] for entry in shown["data"]] == [0, 1]
    assert all(np.shape(entry["embedding"]) == (32,) for entry in shown["data"])


def test_the_serving_example_is_served(generator: Any, tmp_path: Path) -> None:
    """What MLflow's scoring server would be sent as an example is one that it answers."""
    flavor.save_model(generator, tmp_path / "model", input_example=([TEXT], {"max_new_tokens": 2}))
    served = validate_serving_input(str(tmp_path / "model"), load_serving_example(str(tmp_path / "model")))
    assert served == [generator(TEXT, max_new_tokens=2)[0]["generated_text"].strip()]
