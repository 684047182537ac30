"""Every task of transformers, in native mode: saved, predicted, and compared with the bare pipeline."""

from __future__ import annotations

import io
import warnings
import wave
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from transformers.pipelines import PIPELINE_REGISTRY

from tests import tiny_native
from tests.inprocess import Served
from warmlane import codec
from warmlane.errors import InvalidParams, MissingExtra, SchemaError
from warmlane.jobs import PredictJob
from warmlane_workers.tasks import TASKS, implementation
from warmlane_workers.tasks.native import plain

TEXT = "the cat sat on the big tree"
LABELS = ["cat", "dog"]
RATE_HZ = 16_000
TABLE = {"name": ["cat", "dog"], "colour": ["red", "blue"]}
#: Largest difference between two numbers that are the same answer.
TOLERANCE = 1e-4


@cache
def picture(seed: int = 0) -> Image.Image:
    """Coloured noise of 40 by 48 pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8))


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, format="PNG")
    return file.getvalue()


def tone() -> Any:
    """A quarter of a second of two notes."""
    seconds = np.arange(RATE_HZ // 4) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 440 * seconds) + 0.3 * np.sin(2 * np.pi * 1310 * seconds)).astype(np.float32)


QUESTION = {"question": "what is red?", "word_boxes": [["the", [0, 0, 9, 9]], ["red", [10, 0, 20, 9]]]}
DECISION = {"state": "a cat", "questions": {"size": {"type": "noul", "instructions": "big?"}}}

#: Kind -> the row, the params, and the arguments of the bare pipeline's call.
ASKED: Mapping[str, tuple[Any, dict[str, Any], tuple[Any, ...], dict[str, Any]]] = {
    "text-classification": (TEXT, {"top_k": 2}, (TEXT,), {"top_k": 2}),
    "token-classification": (TEXT, {}, (TEXT,), {}),
    "fill-mask": ("the [MASK] sat", {"top_k": 3}, ("the [MASK] sat",), {"top_k": 3}),
    "feature-extraction": (TEXT, {}, (TEXT,), {}),
    "zero-shot-classification": (
        {"sequences": TEXT, "candidate_labels": LABELS},
        {"multi_label": True},
        (TEXT, LABELS),
        {"multi_label": True},
    ),
    "text-generation": (TEXT, {"max_new_tokens": 4}, (TEXT,), {"max_new_tokens": 4}),
    "decision": (DECISION, {}, (DECISION,), {}),
    "table-question-answering": (
        {"table": TABLE, "query": "what colour"},
        {},
        (),
        {"table": TABLE, "query": "what colour"},
    ),
    "speech-ctc": (tone(), {}, (tone(),), {}),
    "speech-whisper": (tone(), {}, (tone(),), {}),
    "audio-classification": (tone(), {}, (tone(),), {}),
    "image-classification": (png(), {"top_k": 2}, (picture(),), {"top_k": 2}),
    "image-feature-extraction": (png(), {}, (picture(),), {}),
    "object-detection": (png(), {"threshold": 0.0}, (picture(),), {"threshold": 0.0}),
    "image-segmentation": (png(), {}, (picture(),), {}),
    "depth-estimation": (png(), {}, (picture(),), {}),
    "zero-shot-image-classification": (
        {"image": png(), "candidate_labels": LABELS},
        {"hypothesis_template": "a {}"},
        (picture(), LABELS),
        {"hypothesis_template": "a {}"},
    ),
    "zero-shot-object-detection": (
        {"image": png(), "candidate_labels": LABELS},
        {"threshold": 0.0},
        (picture(), LABELS),
        {"threshold": 0.0},
    ),
    "zero-shot-audio-classification": (tone(), {"candidate_labels": LABELS}, (tone(),), {"candidate_labels": LABELS}),
    "document-question-answering": ({"image": png(), **QUESTION}, {}, (picture(),), QUESTION),
    "text-to-audio": ("a red cat", {}, ("a red cat",), {}),
    "image-text-to-text": (
        {"images": png(), "text": "<image> the cat"},
        {"max_new_tokens": 4},
        (picture(),),
        {"text": "<image> the cat", "max_new_tokens": 4},
    ),
    "any-to-any": (
        {"images": png(), "text": "<image> the cat"},
        {"max_new_tokens": 4},
        ("<image> the cat", picture()),
        {"max_new_tokens": 4},
    ),
    "keypoint-matching": (
        {"images": [png(0), png(0)]},
        {"threshold": 0.01},
        ([picture(0), picture(0)],),
        {"threshold": 0.01},
    ),
}


def same(one: Any, other: Any) -> bool:
    """Whether two answers are the same: of one shape, the same words, numbers within the tolerance."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, str | bytes | None):
        return bool(one == other)
    if isinstance(one, list) and one and isinstance(one[0], str | Mapping | list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    left, right = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return left.shape == right.shape and bool(np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("native")) as made:
        yield made


def ask(served: Served, kind: str, inputs: Any, params: dict[str, Any] | None = None, **fields: Any) -> Any:
    """What a job answers to a kind's model, as it travels; the model is saved at the first question."""
    if kind not in served.bare:
        served.add(kind, {**tiny_native.MAKERS, **tiny_native.OTHERS}[kind][0], tiny_native.components(kind))
    job = PredictJob(model=kind, inputs=inputs, params=params or {}, **{"output": "native", **fields})
    return codec.decode("result", codec.encode("result", served.answer(job)))


@pytest.mark.parametrize("kind", ASKED)
def test_a_row_is_answered_as_by_the_bare_pipeline(served: Served, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved, loaded and asked by a job, a pipeline of each kind answers what it answers to the same in its process."""
    # It asks for torchvision whatever the model needs; this one needs none.
    monkeypatch.setattr("transformers.pipelines.any_to_any.requires_backends", lambda *names: None)
    row, params, arguments, keywords = ASKED[kind]
    answer = ask(served, kind, row, params)
    assert same(answer, plain(served.bare[kind](*arguments, **keywords)))


def test_every_task_of_transformers_is_asked() -> None:
    """The kinds of this file have every task that the installed transformers, and this library, has a pipeline for."""
    made = {task for task, _ in (*tiny_native.MAKERS.values(), *tiny_native.OTHERS.values())}
    assert set(PIPELINE_REGISTRY.supported_tasks) - made == set(TASKS) & {
        *("conversational", "question-answering", "summarization", "text2text-generation", "translation"),
    }


# -- pictures --------------------------------------------------------------------------------------------------------


def test_pictures_come_back_as_png(served: Served) -> None:
    """A mask that a pipeline returns as a picture is the bytes of a PNG file of the input's size."""
    (first, *_) = ask(served, "image-segmentation", png())
    assert Image.open(io.BytesIO(first["mask"])).size == (48, 40)


def test_a_picture_may_have_any_of_its_names(served: Served) -> None:
    """`image`, `images` and `inputs` name the same argument, whichever the pipeline has."""
    bare = ask(served, "object-detection", png(), {"threshold": 0.0})
    for name in ("image", "images", "inputs"):
        assert same(ask(served, "object-detection", {name: png()}, {"threshold": 0.0}), bare)


def test_pixels_are_a_picture(served: Served) -> None:
    """An array (height, width, 3) is answered as the file of the same pixels."""
    assert same(ask(served, "depth-estimation", np.asarray(picture())), ask(served, "depth-estimation", png()))


def test_each_row_has_its_own_labels(served: Served) -> None:
    """Two rows of zero-shot classification with other labels are answered by their own."""
    rows = [{"image": png(), "candidate_labels": labels} for labels in (["cat", "dog"], ["tree"])]
    answers = ask(served, "zero-shot-image-classification", rows)
    assert [{label["label"] for label in answer} for answer in answers] == [{"cat", "dog"}, {"tree"}]


def test_a_message_has_pictures_in_it(served: Served) -> None:
    """A chat template sees the pictures of a message's parts, sent as bytes."""
    kind = "image-text-to-text"
    ask(served, kind, *ASKED[kind][:2])
    template = "{% for m in messages %}{% for p in m.content %}{{ '<image> ' if p.type == 'image' else p.text }}"
    parts = tiny_native.components(kind)
    parts["processor"].chat_template = template + "{% endfor %}{% endfor %}"
    parts["processor"].tokenizer.chat_template = parts["processor"].chat_template
    served.add("chatting", kind, parts)
    content = [{"type": "image", "image": png()}, {"type": "text", "text": "the cat"}]
    bare = [{"type": "image", "image": picture()}, {"type": "text", "text": "the cat"}]
    options = {"max_new_tokens": 4, "return_full_text": False}
    answer = served.answer(
        PredictJob(model="chatting", inputs={"messages": [{"role": "user", "content": content}]}, params=options)
    )
    expected = served.bare["chatting"](text=[{"role": "user", "content": bare}], **options)
    assert answer[0]["generated_text"] == expected[0]["generated_text"]


def test_a_row_names_no_file_of_the_worker(served: Served, tmp_path: Path) -> None:
    """A path outside the worker's source roots is no picture, alone or in a dict."""
    (tmp_path / "secret.png").write_bytes(png())
    for row in (str(tmp_path / "secret.png"), {"image": str(tmp_path / "secret.png")}):
        with pytest.raises(SchemaError):
            ask(served, "object-detection", row)


# -- sounds and films ------------------------------------------------------------------------------------------------


def test_sounds_come_back_as_wav(served: Served) -> None:
    """What a model speaks is the bytes of a WAV file at its rate."""
    answer = ask(served, "text-to-audio", "a red cat")
    bare = served.bare["text-to-audio"]("a red cat")
    with wave.open(io.BytesIO(answer["audio"])) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32767
        assert sound.getframerate() == answer["sampling_rate"] == bare["sampling_rate"]
    assert np.allclose(samples, np.ravel(bare["audio"]), atol=TOLERANCE)


def film(path: Path) -> Path:
    """Eight frames of noise in an mp4 file."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for seed in range(8):
            pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("params", [{}, {"frame_sampling_rate": 2, "top_k": 2}])
def test_films_are_classified_as_by_the_bare_pipeline(served: Served, tmp_path: Path, params: dict[str, Any]) -> None:
    """A film sent as bytes has the labels and scores that the pipeline gives to the file."""
    path = film(tmp_path / "film.mp4")
    answer = ask(served, "video-classification", path.read_bytes(), params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert same(answer, plain(served.bare["video-classification"](str(path), **params)))


def test_a_film_too_short_is_refused(served: Served) -> None:
    """A film of fewer frames than the model sees is an error of its row."""
    with pytest.raises(SchemaError, match="too short"):
        ask(served, "video-classification", np.zeros((2, 32, 32, 3), np.uint8))


# -- what is missing or wrong ----------------------------------------------------------------------------------------


def test_a_missing_package_is_named(served: Served) -> None:
    """Masks are put together by torchvision: a worker without it says so, by name."""
    with pytest.raises(MissingExtra, match=r"(?i)torchvision"):
        ask(served, "mask-generation", png(), {"points_per_crop": 2})
    with pytest.raises(MissingExtra, match=r"(?i)torchvision"):
        implementation("any-to-any", {"task": "any-to-any", **tiny_native.components("any-to-any")})


def test_an_unknown_parameter_is_refused_with_those_that_there_are(served: Served) -> None:
    """A parameter that the pipeline would ignore in silence is an error, which lists the others."""
    with pytest.raises(InvalidParams) as caught:
        ask(served, "object-detection", png(), {"treshold": 0.5})
    assert "threshold" in caught.value.details["allowed"]


def test_a_row_that_lacks_an_argument_is_refused(served: Served) -> None:
    """What a pipeline's call cannot do without is asked for as an error of the row."""
    with pytest.raises(SchemaError):
        ask(served, "zero-shot-image-classification", {"image": png()})


WORDS = {"image": png(), "question": "a cat"}


@pytest.mark.parametrize(
    ("task", "row", "field"),
    [
        ("zero-shot-image-classification", {"image": png(), "candidate_labels": []}, "inputs.candidate_labels"),
        ("zero-shot-object-detection", {"image": png()}, "inputs.candidate_labels"),
        ("image-text-to-text", {"images": png(), "text": "a cat"}, "inputs.text"),
        ("keypoint-matching", {"images": [png()]}, "inputs.images"),
        ("object-detection", None, "inputs"),
        ("document-question-answering", {"image": png()}, "inputs.question"),
        (
            "document-question-answering",
            {**WORDS, "word_boxes": [["cat", [0, 0, 2000, 9]]]},
            "inputs.word_boxes",
        ),
        ("text-to-audio", "", "inputs"),
    ],
)
def test_a_row_is_told_which_part_it_lacks(served: Served, task: str, row: Any, field: str) -> None:
    """Labels, a picture's token, the second picture, a question, boxes on the page: the error names the part."""
    with pytest.raises(SchemaError) as caught:
        ask(served, task, row)
    assert caught.value.details["field"] == field


def test_a_document_without_words_needs_text_recognition(served: Served) -> None:
    """Where it is not installed, the error says what to install, or to send."""
    with pytest.raises(MissingExtra, match=r"pytesseract.*send the words"):
        ask(served, "document-question-answering", WORDS)


@pytest.mark.parametrize("name", ["tesseract_config", "timeout", "num_workers", "lable"])
def test_a_row_has_no_other_arguments(served: Served, name: str) -> None:
    """A row's dict has arguments that are for callers, and none that reaches a program or is dropped in silence."""
    with pytest.raises(SchemaError, match="word_boxes"):
        ask(served, "document-question-answering", {"image": png(), **QUESTION, name: "1"})


def test_the_guides_shape_of_a_task_without_one_is_refused(served: Served) -> None:
    """`output="pyfunc"` of a task that the guide's table lacks names the mode that there is."""
    with pytest.raises(InvalidParams, match="native"):
        ask(served, "object-detection", png(), output="pyfunc")


# -- tables ----------------------------------------------------------------------------------------------------------


def test_equal_questions_of_two_tables_have_two_answers(served: Served) -> None:
    """Rows that ask the same of other tables, sent as a dict and as JSON, are answered each."""
    other = '{"name": ["bird"], "colour": ["blue"]}'
    rows = [{"query": "what colour", "table": table} for table in (TABLE, other, TABLE)]
    answers = ask(served, "table-question-answering", rows)
    assert len(answers) == 3
    assert same(answers[0], answers[2])
    assert set(answers[1]["cells"]) <= {"bird", "blue"}


def test_each_question_of_a_table_is_answered(served: Served) -> None:
    """A list of questions has one answer each, in the guide's shape one text each."""
    row = {"query": ["what colour", "a bird"], "table": TABLE}
    alone = [ask(served, "table-question-answering", {**row, "query": query}) for query in row["query"]]
    assert same(ask(served, "table-question-answering", row), alone)
    assert ask(served, "table-question-answering", row, output="pyfunc") == [answer["answer"] for answer in alone]


@pytest.mark.parametrize("table", ["no json", {}, {"a": []}, {"a": ["1"], "b": []}, [1], 5])
def test_what_is_no_table_is_refused(served: Served, table: Any) -> None:
    """A table is columns of one length, and not empty."""
    with pytest.raises(SchemaError) as caught:
        ask(served, "table-question-answering", {"query": "what", "table": table})
    assert str(caught.value.details["field"]).startswith("inputs")
