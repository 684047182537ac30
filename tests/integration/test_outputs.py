"""Outputs: whatever a pipeline answers to each row alone comes in the shape of the guide's table, one output a row."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fleet import SHARED
from warmlane.errors import UnsupportedTask
from warmlane.results import Table
from warmlane_workers.flavor.load import load_model
from warmlane_workers.flavor.prediction import generate_signature_output
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.tasks.outputs import guide_output, has_shape

GOLDEN = SHARED / "golden"


def label(name: str, score: float) -> dict[str, Any]:
    return {"label": name, "score": score}


def token(text: str) -> dict[str, Any]:
    return {"score": 0.5, "token": 1, "token_str": text, "sequence": ""}


def answer(text: str) -> dict[str, Any]:
    return {"score": 0.5, "start": 0, "end": 1, "answer": text}


@pytest.mark.parametrize(
    ("task", "answers", "expected"),
    [
        ("text-generation", [[{"generated_text": " a b "}], [{"generated_text": "c"}]], ["a b", "c"]),
        ("text-generation", [[{"generated_text": [{"role": "assistant", "content": "a"}]}]], ["a"]),
        ("text2text-generation", [[{"generated_text": "a"}], [{"generated_text": "a"}]], ["a", "a"]),
        ("summarization", [[{"summary_text": "a\n"}]], ["a"]),
        ("translation", [[{"translation_text": "a"}]], ["a"]),
        ("translation_en_to_fr", [[{"translation_text": "a"}]], ["a"]),
        ("conversational", [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]], ["b"]),
        ("token-classification", [[{"entity": "I-PER"}, {"entity": "I-LOC"}]], ["I-PER,I-LOC"]),
        ("token-classification", [[{"entity_group": "PER"}]], ["PER"]),
        ("fill-mask", [[token("a"), token("b")], [token("c")]], ["a", "c"]),
        ("question-answering", [answer(" a"), [answer("b")]], ["a", "b"]),
        ("table-question-answering", [{"answer": "a"}, {"answer": "a"}], ["a", "a"]),
        ("automatic-speech-recognition", [{"text": " a"}, {"text": "b"}], ["a", "b"]),
    ],
)
def test_a_text_for_each_row(task: str, answers: list[Any], expected: list[str]) -> None:
    """Tasks that answer with text give a list of str, one a row, without space around."""
    assert guide_output(task, answers) == expected


def test_what_belongs_to_a_row_stays_with_it() -> None:
    """Each sample, mask and answer is in the output of its own row; a text without entities has an empty one."""
    samples = [[{"generated_text": "a"}, {"generated_text": "b"}], [{"generated_text": "c"}, {"generated_text": "d"}]]
    assert guide_output("text-generation", samples) == [["a", "b"], ["c", "d"]]
    assert guide_output("fill-mask", [[[token("a")], [token("b")]], [token("c")]]) == [["a", "b"], "c"]
    assert guide_output("question-answering", [[answer("a"), answer("b")], answer("c")]) == [["a", "b"], "c"]
    assert guide_output("token-classification", [[], [{"entity": "I-PER"}]]) == ["", "I-PER"]


def test_time_stamps_come_as_json() -> None:
    """Speech with time stamps is one str of JSON with text and chunks; without, it is the text."""
    stamped = {"text": "a b", "chunks": [{"text": "a", "timestamp": (0.0, 0.5)}]}
    [text] = guide_output("automatic-speech-recognition", [stamped])
    assert json.loads(text) == {"text": "a b", "chunks": [{"text": "a", "timestamp": [0.0, 0.5]}]}


def test_several_queries_of_one_table_are_as_many_rows() -> None:
    """A row that asks a list of queries has an answer for each, in order, and equal queries have equal answers."""
    assert guide_output("table-question-answering", [[{"answer": "a"}, {"answer": "b"}], {"answer": "a"}]) == [
        "a",
        "b",
        "a",
    ]


def test_labels_are_a_table_with_one_row_a_row() -> None:
    """Label and score of each text; where a text has several labels the cells are lists, best first."""
    best = [label("good", 0.5), [label("bad", 0.25)]]
    assert guide_output("text-classification", best) == Table({"label": ["good", "bad"], "score": [0.5, 0.25]})
    both = [[label("good", 0.5), label("bad", 0.25)]] * 2
    assert guide_output("text-classification", both) == Table(
        {"label": [["good", "bad"]] * 2, "score": [[0.5, 0.25]] * 2}
    )


@pytest.mark.parametrize(
    ("task", "names"), [("audio-classification", ["score", "label"]), ("image-classification", ["label", "score"])]
)
def test_one_sound_or_image_has_a_row_a_label(task: str, names: list[str]) -> None:
    """A single input with several labels is a table of them; of a list each has one row, and lists in the cells."""
    heard = [label("dog", 0.5), label("cat", 0.25)]
    assert guide_output(task, [heard], single=True).rows() == heard
    assert list(guide_output(task, [heard], single=True).columns) == names
    assert guide_output(task, [heard, heard])["label"] == [["dog", "cat"], ["dog", "cat"]]


def test_each_row_of_zero_shot_has_its_own_labels() -> None:
    """Rows with other labels, and rows that are equal, all have their lines, best label first."""
    first = {"sequence": "a", "labels": ["x", "y"], "scores": [0.75, 0.25]}
    second = {"sequence": "b", "labels": ["z"], "scores": [1.0]}
    table = guide_output("zero-shot-classification", [first, [second, first], first])
    assert table["sequence"] == ["a", "a", "b", "a", "a", "a", "a"]
    assert table["labels"] == ["x", "y", "z", "x", "y", "x", "y"]
    assert table["scores"] == [0.75, 0.25, 1.0, 0.75, 0.25, 0.75, 0.25]


def test_features_of_every_row() -> None:
    """One array (tokens, hidden) a row, of any number of tokens; a single row's alone."""
    native = [[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0]]]]
    first, second = guide_output("feature-extraction", native)
    assert first.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert second.tolist() == [[5.0, 6.0]]
    assert guide_output("feature-extraction", native[:1], single=True).shape == (2, 2)


def test_a_task_outside_the_guides_table_is_refused_with_those_in_it() -> None:
    """An UnsupportedTask that lists the tasks with a shape."""
    assert not has_shape("depth-estimation")
    with pytest.raises(UnsupportedTask, match="text-classification"):
        guide_output("depth-estimation", [])


def tone() -> Any:
    with wave.open(str(GOLDEN / "tone.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 2**15


def recorded() -> list[Any]:
    """What MLflow recorded, but for prompts in a template, chats that go on, and sound that it refused."""
    found = []
    for path in sorted(GOLDEN.glob("*.json")):
        record = json.loads(path.read_text())
        if path.stem == "conversational" or "prompt_template" in record["save"]:
            continue
        runs = [run for run in record["runs"] if "output" in run]
        found += [pytest.param(path.with_suffix(""), run, id=f"{path.stem}-{at}") for at, run in enumerate(runs)]
    return found


@pytest.mark.parametrize(("directory", "run"), recorded())
def test_a_pipelines_output_is_what_mlflow_recorded(directory: Path, run: dict[str, Any]) -> None:
    """Pipelines of the directories that MLflow wrote give, row by row, the outputs that MLflow gave."""
    data = tone() if run["input"] is None else run["input"]
    config = Artifact.read(directory).model_config
    output = generate_signature_output(load_model(directory), data, config, run["params"])
    if isinstance(output, Table):
        expected = run["output"]["__table__"]
        assert list(output.columns) == list(expected)
        assert output["label"] == expected["label"]
        assert output["score"] == pytest.approx(expected["score"], abs=1e-4)
    else:
        assert output == run["output"]
