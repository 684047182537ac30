"""Input examples: their files have the bytes that MLflow writes, and come back as they were given."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from warmlane.errors import ArtifactDamaged, ArtifactIncomplete, InvalidInput
from warmlane.results import NDArray, Table
from warmlane_workers.flavor.examples import FILE, SERVING_FILE, read_example, render

SECRET = "s3cret"
LONG = bytes(range(60))
ENCODED = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\\nOTo7\\n"  # a break after 76
LABELS = {"sequences": "a", "candidate_labels": ["x", "y"]}
#: Example, its file, the request of MLflow's server without line breaks, its kind; byte for byte those of MLflow 3.17.
FILES: list[tuple[Any, str, str, str]] = [
    ("hello", '"hello"', '{"inputs": "hello"}', "json_object"),
    ("ä", '"\\u00e4"', '{"inputs": "\\u00e4"}', "json_object"),
    (3, "3", '{"inputs": 3}', "json_object"),
    (["a", "b"], '["a", "b"]', '{"inputs": ["a", "b"]}', "json_object"),
    ([{"a": 1}, {"a": None}], '[{"a": 1}, {"a": null}]', '{"inputs": [{"a": 1}, {"a": null}]}', "json_object"),
    ({"text": "a"}, '{"text": "a"}', '{"inputs": {"text": "a"}}', "json_object"),
    ({"prompt": "a"}, '{"prompt": "a"}', '{"prompt": "a"}', "json_object"),
    (b"ab", '"YWI=\\n"', '{"inputs": "YWI=\\n"}', "json_object"),
    ([{"sound": LONG}], f'[{{"sound": "{ENCODED}"}}]', f'{{"inputs": [{{"sound": "{ENCODED}"}}]}}', "json_object"),
    (datetime(2024, 1, 2, 3, 4, 5), '"2024-01-02T03:04:05"', '{"inputs": "2024-01-02T03:04:05"}', "json_object"),
    (np.array([[1.5, np.nan]]), "[[1.5, null]]", '{"inputs": [[1.5, null]]}', "ndarray"),
    ({"x": np.array([1, 2])}, '{"x": [1, 2]}', '{"inputs": {"x": [1, 2]}}', "ndarray"),
    (
        pandas.DataFrame({"a": ["x", "y"], "b": [1, 2]}),
        '{"columns": ["a", "b"], "data": [["x", 1], ["y", 2]]}',
        '{"dataframe_split": {"columns": ["a", "b"], "data": [["x", 1], ["y", 2]]}}',
        "dataframe",
    ),
    (pandas.DataFrame([["x", 1]]), '{"data": [["x", 1]]}', '{"dataframe_split": {"data": [["x", 1]]}}', "dataframe"),
    (
        LABELS,
        '{"sequences": "a", "candidate_labels": "[\\"x\\", \\"y\\"]"}',
        '{"inputs": {"sequences": "a", "candidate_labels": "[\\"x\\", \\"y\\"]"}}',
        "json_object",
    ),
]


def one_line(text: str) -> str:
    """A request without the line breaks and indents that it was laid out with."""
    return (
        " ".join(line.strip() for line in text.splitlines())
        .replace("{ ", "{")
        .replace(" }", "}")
        .replace("[ ", "[")
        .replace(" ]", "]")
    )


@pytest.mark.parametrize(("example", "text", "request_text", "kind"), FILES, ids=lambda value: repr(value)[:20])
def test_an_examples_files_are_mlflows(example: Any, text: str, request_text: str, kind: str, tmp_path: Path) -> None:
    """`input_example.json` and the request have MLflow's bytes, and MLmodel says where and what they are."""
    info = render(example).write(tmp_path)
    assert (tmp_path / FILE).read_text() == text
    request = (tmp_path / SERVING_FILE).read_text()
    assert one_line(request) == request_text
    assert request == json.dumps(json.loads(request), indent=2)
    orient = {"pandas_orient": "split" if "columns" in text else "values"} if kind == "dataframe" else {}
    assert info == {"artifact_path": FILE, "serving_input_path": SERVING_FILE, "type": kind, **orient}


@pytest.mark.parametrize(
    ("example", "params", "text", "request_text"),
    [
        ("a", {"n": 1}, '{"inputs": "a", "params": {"n": 1}}', '{"inputs": "a", "params": {"n": 1}}'),
        ({"prompt": "a"}, {"n": 1}, '{"inputs": {"prompt": "a"}, "params": {"n": 1}}', '{"prompt": "a", "n": 1}'),
        (
            Table({"a": [1]}),
            {"n": 1},
            '{"inputs": {"columns": ["a"], "data": [[1]]}, "params": {"n": 1}}',
            '{"dataframe_split": {"columns": ["a"], "data": [[1]]}, "params": {"n": 1}}',
        ),
    ],
)
def test_params_are_kept_beside_the_input(example: Any, params: Any, text: str, request_text: str) -> None:
    """The file has inputs and params; a request of OpenAI's API has its params among its own fields."""
    rendered = render(example, params)
    assert rendered.example == text
    assert one_line(rendered.request) == request_text
    assert rendered.info["params"] == "true"


@pytest.mark.parametrize("params", [None, {}])
def test_no_params_are_not_kept(params: Any) -> None:
    """Without params, or with an empty dict, the file is the input alone: MLflow would read `{}` back as a column."""
    assert render("a", params) == render("a")
    assert "params" not in render("a", params).info


@pytest.mark.parametrize("params", [None, {"top_k": 2}])
@pytest.mark.parametrize(
    "example",
    ["a", ["a", "b"], {"a": [1.5, None]}, [{"a": True}], Table({"a": ["x", "y"], "b": [1, None]}), Table({"a": []})],
    ids=repr,
)
def test_an_example_comes_back(example: Any, params: Any, tmp_path: Path) -> None:
    """What JSON has a form for, and tables, are read as they were given, with their params."""
    info = render(example, params).write(tmp_path)
    assert read_example(tmp_path, info) == (example, params)


def test_an_array_comes_back(tmp_path: Path) -> None:
    """Numbers as numpy's array, nan where there was one; arrays by name too."""
    for example in (np.array([[1.5, np.nan]]), NDArray("float64", (1,), bytes(8)), np.array([1, 2])):
        back, _ = read_example(tmp_path, render(example).write(tmp_path))
        assert isinstance(back, np.ndarray)
        np.testing.assert_array_equal(back, np.asarray(example))
    back, _ = read_example(tmp_path, render({"x": np.array([1, 2])}).write(tmp_path))
    assert back["x"].tolist() == [1, 2]


def test_a_frame_without_names_comes_back_as_a_table(tmp_path: Path) -> None:
    """Its columns have their numbers for names."""
    info = render(pandas.DataFrame([["x", 1], ["y", 2]])).write(tmp_path)
    assert read_example(tmp_path, info)[0] == Table({"0": ["x", "y"], "1": [1, 2]})


def test_tables_and_labels_are_json_as_in_their_signatures() -> None:
    """A table to be asked, in any form, and a list of labels become JSON; what is a str already stays."""
    table = {"n": ["1", "2"]}
    for given in (table, json.dumps(table), Table(table), pandas.DataFrame(table)):
        assert json.loads(render([{"query": "q", "table": given}]).example) == [
            {"query": "q", "table": '{"n": ["1", "2"]}'}
        ]
    assert json.loads(render({**LABELS, "candidate_labels": "x, y"}).example)["candidate_labels"] == "x, y"


def test_the_callers_objects_stay_as_they_were(tmp_path: Path) -> None:
    """Neither example nor params are changed by writing them."""
    example, params = [copy.deepcopy(LABELS)], {"when": datetime(2024, 1, 2, tzinfo=UTC)}
    render(example, params).write(tmp_path)
    assert example == [LABELS]
    assert params == {"when": datetime(2024, 1, 2, tzinfo=UTC)}


@pytest.mark.parametrize("bad", [object(), {1, 2}, ("a", "b"), [np.zeros(2)], {"a": np.zeros(2), "b": 1}, [[object()]]])
def test_what_has_no_json_is_refused_before_a_file_is_written(bad: Any, tmp_path: Path) -> None:
    """An InvalidInput that names the place and the type; the directory stays empty."""
    with pytest.raises(InvalidInput, match=r"input_example.* cannot be kept"):
        render(bad).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """An example that MLmodel names and that is not there is an ArtifactIncomplete."""
    info = render(SECRET).write(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(ArtifactIncomplete, match=FILE):
        read_example(tmp_path, info)


@pytest.mark.parametrize(
    ("text", "info"),
    [
        ("[", {"type": "json_object"}),
        ('"s3cret"', {"type": "dataframe"}),
        ('{"columns": ["a"], "data": [[1, 2]]}', {"type": "dataframe"}),
        ('{"inputs": 1}', {"type": "json_object", "params": "true"}),
        ('[["s3cret"], 1]', {"type": "ndarray"}),
        ("[" * 100_000, {"type": "json_object"}),
    ],
)
def test_a_file_that_holds_something_else_is_damaged(text: str, info: dict[str, Any], tmp_path: Path) -> None:
    """An ArtifactDamaged that names the file and quotes nothing of it."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ArtifactDamaged, match=FILE) as caught:
        read_example(tmp_path, info)
    assert SECRET not in str(caught.value)


def test_an_example_is_read_from_its_directory_only(tmp_path: Path) -> None:
    """A path in MLmodel that leads elsewhere is taken as a name."""
    (tmp_path / "secret.json").write_text('"s3cret"')
    (tmp_path / "model").mkdir()
    with pytest.raises(ArtifactIncomplete):
        read_example(tmp_path / "model", {"artifact_path": "../secret.json", "type": "json_object"})
