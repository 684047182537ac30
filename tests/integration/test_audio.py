"""Speech and sounds, in process: each row's answer is the one that the bare pipeline gives to it alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests import sounds
from tests import tiny_media as models
from tests.fleet import SHARED
from tests.inprocess import Served, seeded
from warmlane.errors import InvalidParams, SchemaError
from warmlane.results import NDArray, Table

RATE = 16_000
GOLDEN = SHARED / "golden"
WHISPER = SHARED / "models" / "whisper-tiny.en"
SENTENCE = "And so my fellow Americans ask not what your country can do for you, ask what you can do for your country."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whose files rows may name."""
    return tmp_path_factory.mktemp("sounds")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served"), roots=(folder,)) as made:
        made.add("ctc", "automatic-speech-recognition", seeded(models.speech_ctc))
        made.add("whisper", "automatic-speech-recognition", seeded(models.speech_whisper))
        made.add("classes", "audio-classification", seeded(models.audio_classification))
        made.add("zero-shot", "zero-shot-audio-classification", seeded(models.zero_shot_audio))
        yield made


def clips(count: int, longest: int = RATE) -> list[Any]:
    """Sounds of some lengths, several of each."""
    lengths = [longest, longest // 2, longest // 3, longest // 2 + 1, longest // 9]
    return [sounds.noise(lengths[number % len(lengths)], number) for number in range(count)]


def jobs(rows: list[Any]) -> list[list[Any]]:
    """Rows as jobs of 1 to 64 rows."""
    cut = [0]
    while cut[-1] < len(rows):
        cut.append(cut[-1] + (1, 2, 7, 16, 64)[len(cut) % 5])
    return [rows[start:end] for start, end in pairwise(cut)]


def every_form(samples: Any, folder: Path) -> dict[str, Any]:
    """One sound in all the forms that a row may have."""
    data = sounds.file(samples)
    (folder / "clip.wav").write_bytes(data)
    taken = (samples * 32768).astype(numpy.int16)  # what the file holds
    exact = taken.astype(numpy.float32) / 32768
    return {
        "bytes": data,
        "base64": base64.b64encode(data).decode(),
        "base64 bytes": base64.b64encode(data),
        "path": str(folder / "clip.wav"),
        "array": exact,
        "integers": taken,
        "array without numpy": NDArray("float32", exact.shape, exact.tobytes()),
        "dict": {"raw": exact, "sampling_rate": RATE},
        "data set": {"array": exact, "sampling_rate": RATE, "path": "clip.wav"},
    }


@pytest.mark.parametrize("model", ["ctc", "whisper"])
def test_speech_of_many_jobs_is_what_each_row_alone_says(served: Served, model: str) -> None:
    """Sounds of equal length share batches, within and across jobs; none hears the others."""
    rows = clips(4) if model == "whisper" else clips(200, RATE // 4)
    options = {"num_beams": 1} if model == "whisper" else {}
    expected = [served.bare[model](row.copy(), **options)["text"].strip() for row in rows]
    answers = served.at_once(model, jobs(rows), **options)
    assert [text for answer in answers for text in answer] == expected
    assert len(set(expected)) > len(rows) / 2


def test_classes_of_many_jobs_are_what_each_row_alone_has(served: Served) -> None:
    """A list of sounds is a table with one row a sound, whose cells are its labels and scores, best first."""
    rows = clips(200, RATE // 4)
    expected = [served.bare["classes"](row.copy()) for row in rows]
    answers = [row for table in served.at_once("classes", jobs(rows)) for row in table]
    assert [row["label"] for row in answers] == [[label["label"] for label in labels] for labels in expected]
    for row, labels in zip(answers, expected, strict=True):
        assert row["score"] == pytest.approx([label["score"] for label in labels], abs=1e-4)


def test_a_single_sound_has_one_row_a_class(served: Served) -> None:
    """As in the guide's table: columns score and label."""
    row = clips(1)[0]
    answer = served.predict("classes", row)
    assert list(answer.columns) == ["score", "label"]
    assert answer["label"] == [label["label"] for label in served.bare["classes"](row.copy())]
    assert len(served.predict("classes", row, top_k=2)) == 2


def test_each_form_of_a_sound_is_the_same_sound(served: Served, folder: Path) -> None:
    """Bytes, base64, a path, samples, and samples with their rate: one answer."""
    forms = every_form(sounds.noise(RATE // 2, 3), folder)
    expected = served.predict("ctc", forms["array"])
    answers = {name: served.predict("ctc", form) for name, form in forms.items()}
    assert answers == dict.fromkeys(forms, expected)
    assert served.predict("ctc", list(forms.values())) == expected * len(forms)


def test_a_table_of_sounds_has_one_column_of_any_name(served: Served) -> None:
    """As the guide's DataFrames have it."""
    rows = clips(3)
    table = Table({"whatever": [sounds.file(row) for row in rows]})
    assert served.predict("ctc", table) == served.predict("ctc", table["whatever"])


@pytest.mark.parametrize("timed", ["word", "char"])
def test_times_of_a_ctc_model_are_json(served: Served, timed: str) -> None:
    """The text and its chunks, one str a row."""
    row = clips(1)[0]
    (answer,) = served.predict("ctc", row, return_timestamps=timed)
    expected = served.bare["ctc"](row.copy(), return_timestamps=timed)
    assert json.loads(answer) == json.loads(json.dumps(expected))
    assert json.loads(answer)["chunks"]


def test_a_long_sound_is_read_in_chunks(served: Served) -> None:
    """The pieces of a row share batches and come back in order."""
    row = sounds.noise(RATE * 3, 5)
    options = {"chunk_length_s": 1, "stride_length_s": [0.25, 0.25]}
    expected = served.bare["ctc"](row.copy(), **options)["text"].strip()
    assert served.predict("ctc", [row, row], **options) == [expected, expected]


def test_samples_are_heard_at_the_rate_that_the_job_says(served: Served) -> None:
    """`sampling_rate` is of all samples that do not tell their own."""
    slow = sounds.noise(8_000, 3)
    told = served.predict("ctc", {"array": slow, "sampling_rate": 8_000})
    assert served.predict("ctc", slow, sampling_rate=8_000) == told
    assert served.predict("ctc", slow) != told


@pytest.mark.parametrize("samples", [1, 63])
def test_a_sound_too_short_to_be_heard_is_refused(served: Served, samples: int) -> None:
    """Before the device: the bare pipeline ends in an error of a convolution."""
    with pytest.raises(SchemaError, match="too short"):
        served.predict("ctc", sounds.noise(samples))


def multilingual() -> dict[str, Any]:
    """A tiny Whisper that can be told its language."""
    made = models.speech_whisper()
    tokenizer = made["tokenizer"]
    tokenizer.add_tokens(["<|de|>"])
    made["model"].resize_token_embeddings(len(tokenizer))
    ids = tokenizer.convert_tokens_to_ids
    settings = made["model"].generation_config
    settings.is_multilingual = True
    settings.lang_to_id = {mark: ids(mark) for mark in ("<|en|>", "<|de|>")}
    settings.task_to_id = {task: ids(f"<|{task}|>") for task in ("transcribe", "translate")}
    return made


def test_a_model_of_many_languages_is_told_one(served: Served) -> None:
    """By its code or its name; one that it does not hear is refused before the device."""
    served.add("many", "automatic-speech-recognition", seeded(multilingual))
    row = sounds.noise(RATE)
    options = {"num_beams": 1, "task": "translate"}
    expected = served.bare["many"](row.copy(), generate_kwargs={**options, "language": "de"})["text"].strip()
    assert served.predict("many", row, language="german", **options) == [expected]
    assert served.predict("many", row, language="de", **options) == [expected]
    for wrong in ({"language": "french"}, {"language": 1}, {"task": "sing"}):
        with pytest.raises(InvalidParams):
            served.predict("many", row, **wrong)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("ctc", {"sampling_rate": "fast"}),
        ("ctc", {"return_timestamps": True}),
        ("ctc", {"chunk_length_s": -1}),
        ("ctc", {"num_beams": 2}),
        ("ctc", {"bogus": 1}),
        ("whisper", {"return_timestamps": "char"}),
        ("whisper", {"language": "en"}),  # the model hears English only
        ("whisper", {"num_beams": 0}),
        ("classes", {"top_k": 0}),
        ("classes", {"function_to_apply": "bogus"}),
    ],
)
def test_parameters_are_checked_before_anything_is_heard(served: Served, model: str, params: dict[str, Any]) -> None:
    """What a model cannot do is refused by name."""
    with pytest.raises(InvalidParams):
        served.predict(model, sounds.noise(RATE), **params)


def test_sounds_have_labels_of_their_own(served: Served) -> None:
    """Zero-shot: each row's labels and template are its own; a job may bring them for all rows."""
    row = sounds.noise(48_000, 1)  # as long as the extractor's window: it cuts longer ones at random
    own = {"audio": row, "candidate_labels": ["cat", "dog"], "hypothesis_template": "a big {}"}
    first, second = served.predict("zero-shot", [own, row], candidate_labels="bird, tree, river")
    bare = served.bare["zero-shot"]
    assert first == bare(row, candidate_labels=["cat", "dog"], hypothesis_template="a big {}")
    assert second == bare(row, candidate_labels=["bird", "tree", "river"])


@pytest.mark.parametrize("row", [{"audio": b"a"}, {"audio": b"a", "candidate_labels": []}, {"audio": b"a", "x": 1}])
def test_a_row_without_labels_is_refused(served: Served, row: Any) -> None:
    """By what is missing."""
    with pytest.raises(SchemaError):
        served.predict("zero-shot", row)


if GOLDEN.is_dir():  # beside the project, on the machines of its developers and of CI

    @pytest.mark.parametrize("name", ["asr-ctc", "audio-classification"])
    def test_what_mlflow_recorded_is_answered(served: Served, name: str) -> None:
        """The directory that MLflow wrote hears in a file what it heard there."""
        served.add_directory(name, GOLDEN / name)
        recorded = json.loads((GOLDEN / f"{name}.json").read_text())["runs"][0]["output"]
        answer = served.predict(name, (GOLDEN / "tone.wav").read_bytes())
        if name == "asr-ctc":
            assert answer == recorded
        else:
            assert answer["label"] == recorded["__table__"]["label"]
            assert answer["score"] == pytest.approx(recorded["__table__"]["score"], abs=1e-4)


if WHISPER.is_dir():

    @pytest.fixture(scope="module")
    def whisper(served: Served) -> Served:
        served.add_directory("tiny.en", WHISPER, "automatic-speech-recognition")
        return served

    def test_speech_is_understood(whisper: Served) -> None:
        """The famous sentence; and beside it, in one batch, a test of loudspeakers."""
        rows = [(SHARED / "data" / name).read_bytes() for name in ("jfk.wav", "Front_Center.wav")]
        assert whisper.predict("tiny.en", rows, num_beams=1) == [SENTENCE, "Front, center."]

    def test_speech_longer_than_whisper_hears_at_once_is_understood(whisper: Served) -> None:
        """Whisper finds its way through 33 s by time stamps, which a job need not want to see; transformers refuses."""
        data = numpy.frombuffer((SHARED / "data" / "jfk.wav").read_bytes()[-2 * 11 * RATE :], "<i2")
        long = numpy.tile(data, 3)
        (text,) = whisper.predict("tiny.en", long, num_beams=1)
        assert text.count("my fellow Americans") == 3
