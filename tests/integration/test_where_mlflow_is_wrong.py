"""Where MLflow 3.17's flavor answers wrongly in silence, or fails loudly for all rows of a batch: what it answers, and
what warmlane answers to the same. Source: the behaviour of that release, section 0, found by running it.

What other tests prove already is in `ELSEWHERE`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import sounds, tiny, tiny_native, tiny_seq2seq
from tests.inprocess import Served
from warmlane.errors import InvalidParams, SchemaError
from warmlane.jobs import PredictJob
from warmlane.results import Table
from warmlane_workers.flavor import load_model, save_model
from warmlane_workers.mlmodel import Artifact

ROOT = Path(__file__).resolve().parent
#: MLflow's answer -> the test in another file that has ours.
ELSEWHERE = {
    "table question answering merges equal queries of different tables": (
        "test_native.py::test_equal_questions_of_two_tables_have_two_answers"
    ),
    "a batch of llm/v1 requests goes by the parameters of its first row": (
        "test_openai.py::test_each_row_has_parameters_of_its_own"
    ),
    "a base written beside its adapter is random in the adapted layers": (
        "flavor/test_peft.py::test_a_base_from_nowhere_is_written_beside_its_adapter"
    ),
    "a persisted base of an adapter is random in the adapted layers": (
        "flavor/test_persist.py::test_an_adapter_s_base_from_the_hub_is_its_base"
    ),
    "a base that MLflow wrote beside an adapter is read as if it were whole": (
        "flavor/test_peft.py::test_a_base_under_the_names_that_mlflow_gives_it_is_read"
    ),
    "save_pretrained=False refers to the hub's weights, whatever the model was trained to": (
        "flavor/test_references.py::test_weights_that_were_trained_on_are_not_the_hubs"
    ),
    "an aggregation strategy is not saved": "flavor/test_arguments.py::test_an_aggregation_strategy_is_kept",
    "other arguments of a constructor are not saved": "flavor/test_arguments.py::test_a_classifier_keeps_its_arguments",
    "one bad row fails all rows": "test_rows.py::test_other_rows_are_answered_beside_one_that_cannot_be_read",
}
#: The tasks whose pipelines transformers 5 removed, with a model and a row for each.
REMOVED: dict[str, tuple[Any, Any]] = {
    "conversational": (tiny_seq2seq.chatter, "the cat sat"),
    "summarization": (tiny_seq2seq.t5, "the cat sat"),
    "text2text-generation": (tiny_seq2seq.bart, "the cat sat"),
    "translation_en_to_fr": (tiny_seq2seq.t5, "the cat sat"),
    "question-answering": (tiny_seq2seq.reader, {"question": "who sat ?", "context": "the cat sat"}),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("wrong")) as made:
        for kind in ("feature-extraction", "text-classification", "zero-shot-classification", "text-generation"):
            made.add(kind, kind, tiny_native.components(kind))
        yield made


@pytest.mark.parametrize("name", ELSEWHERE.values(), ids=ELSEWHERE)
def test_another_file_has_the_test(name: str) -> None:
    """Each test that this file refers to is where it says."""
    file, _, function = name.partition("::")
    assert f"def {function}(" in (ROOT / file).read_text()


# -- in silence ------------------------------------------------------------------------------------------------------


def test_every_text_has_its_features(served: Served) -> None:
    """MLflow: a list of texts gets the array of the first. Here: an array each."""
    one, other = served.predict("feature-extraction", ["a cat", "the big dog sat"])
    assert np.allclose(one, served.predict("feature-extraction", "a cat"), atol=1e-4)
    assert np.allclose(other, served.predict("feature-extraction", "the big dog sat"), atol=1e-4)
    assert one.shape != other.shape


@pytest.mark.parametrize(
    "form", [lambda row: [row], lambda row: Table.from_rows([row], list(row))], ids=["list", "table"]
)
def test_the_second_text_of_a_pair_counts(served: Served, form: Any) -> None:
    """MLflow: under the default signature `text_pair` is dropped. Here: the answer is that of the pair."""
    pair = {"text": "the cat sat", "text_pair": "a great film"}
    (answer,) = served.predict("text-classification", form(pair), top_k=None)
    scores = dict(zip(answer["label"], answer["score"], strict=True))
    bare = served.bare["text-classification"]
    assert scores == pytest.approx({each["label"]: each["score"] for each in bare(pair, top_k=None)}, abs=1e-4)
    mlflows = {each["label"]: each["score"] for each in bare(pair["text"], top_k=None)}
    assert scores != pytest.approx(mlflows, abs=1e-2)


def test_every_row_has_its_own_candidate_labels(served: Served) -> None:
    """MLflow: all rows get the labels of the first. Here: each its own."""
    labels = [["cat", "dog"], ["tree", "river", "stone"]]
    rows = [{"sequences": "the cat sat", "candidate_labels": each} for each in labels]
    table = served.predict("zero-shot-classification", rows)
    assert [row["labels"] in labels[0] for row in table] == [True, True, False, False, False]


def test_equal_rows_are_all_answered(served: Served) -> None:
    """MLflow: of equal rows of zero-shot classification one is answered. Here: all."""
    row = {"sequences": "the cat sat", "candidate_labels": ["cat", "dog"]}
    table = served.predict("zero-shot-classification", [row, row, row])
    assert [each["sequence"] for each in table] == ["the cat sat"] * 6
    assert table.columns["scores"] == pytest.approx(table.columns["scores"][:2] * 3)


def test_no_row_gets_the_samples_of_another(served: Served) -> None:
    """MLflow: with `num_return_sequences=2` a list's second answer is the first row's second sample. Here: refused,
    for a row has one answer; a row that is sent twice has two.
    """
    options = {"do_sample": True, "top_k": 50, "max_new_tokens": 4}
    with pytest.raises(InvalidParams, match="once for each sample"):
        served.predict("text-generation", ["a cat", "the dog"], num_return_sequences=2, **options)
    answers = served.predict("text-generation", ["a cat", "a cat", "the dog"], **options)
    assert [answer.startswith(start) for answer, start in zip(answers, ("a cat", "a cat", "the dog"), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize(
    "rows",
    [
        Table({"prompt": ["a cat"], "more": ["the dog"]}),
        [["a cat", "the dog"]],
        [{"prompt": "a cat", "more": "the dog"}],
    ],
    ids=["column", "list", "key"],
)
@pytest.mark.parametrize("task", ["text-generation", "feature-extraction"])
def test_nothing_of_a_row_is_ignored(served: Served, task: str, rows: Any) -> None:
    """MLflow: a second column, or a second item of a nested list, is ignored. Here: such a row is refused."""
    with pytest.raises(SchemaError):
        served.predict(task, rows)


# -- loudly, and for the whole batch ---------------------------------------------------------------------------------


def test_a_text_without_entities_has_no_tags(served: Served) -> None:
    """MLflow: an IndexError for the whole batch. Here: an empty str in its place."""
    parts = tiny_native.components("token-classification")
    served.add("tags", "token-classification", parts)
    rows = ["the cat sat", "a dog"]
    usual = served.predict("tags", rows)
    tags = sorted({tag for text in usual for tag in text.split(",")})
    bare = served.bare["tags"]
    ignored = [tag for tag in tags if tag in {each["entity"] for each in bare(rows[1])}]
    found = served.predict("tags", rows, ignore_labels=ignored)
    assert found == [",".join(tag for tag in text.split(",") if tag not in ignored) for text in usual]
    assert found[1] == ""


@pytest.mark.parametrize("task", REMOVED)
def test_a_task_that_transformers_removed_is_saved_loaded_and_answered(
    served: Served, task: str, tmp_path: Path
) -> None:
    """MLflow: under transformers 5 it cannot be built, saved or loaded. Here: as before."""
    make, row = REMOVED[task]
    model, tokenizer = make()
    served.add(task, task, {"model": model, "tokenizer": tokenizer})
    (answer,) = served.answer(PredictJob(model=task, inputs=[row], params=_short(task)))
    save_model({"model": model, "tokenizer": tokenizer}, tmp_path / "saved", task=task)
    loaded = load_model(tmp_path / "saved", device="cpu")(row, **_short(task))
    assert answer == _text(loaded)


def _short(task: str) -> dict[str, Any]:
    return {} if task == "question-answering" else {"max_new_tokens": 4, "do_sample": False}


def _text(answer: Any) -> str:
    """The text in whatever shape the pipeline gives it."""
    if hasattr(answer, "generated_responses"):
        return str(answer.generated_responses[-1]).strip()
    record = answer[0] if isinstance(answer, list) else answer
    (text,) = (value for value in record.values() if isinstance(value, str))
    return text.strip()


def test_a_local_checkpoint_is_saved(tmp_path: Path) -> None:
    """MLflow: an AttributeError under transformers 5. Here: a model directory that answers."""
    save_model(tiny.save("text-classification", tmp_path / "from"), tmp_path / "saved", task="text-classification")
    assert load_model(tmp_path / "saved", device="cpu")("the cat sat")[0]["label"] in ("bad", "fair", "good")


def test_a_save_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow: 17 to 21 s for a model of 92 kB, for it is loaded again in a process of its own to see what it imports;
    without torchvision it fails after the weights are written. Here: the requirements are told without, and are whole.
    """
    monkeypatch.setattr(subprocess, "Popen", partial(_refuse, "a process"))
    save_model(tiny_native.pipeline("image-classification"), tmp_path / "saved")
    names = {line.partition("==")[0] for line in (tmp_path / "saved" / "requirements.txt").read_text().splitlines()}
    assert {"torch", "transformers"} <= names
    assert Artifact.read(tmp_path / "saved").task == "image-classification"


def _refuse(what: str, *args: Any, **kwargs: Any) -> None:
    raise AssertionError(f"{what} was started")


def test_a_sound_needs_no_program_of_the_system(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow: sounds as bytes need an `ffmpeg` binary on the path. Here: there is no path at all."""
    served.add("hears", "audio-classification", tiny_native.components("audio-classification"))
    monkeypatch.setenv("PATH", "")
    table = served.predict("hears", [sounds.file(sounds.tone(seconds=0.2))])
    assert len(table) == 1
