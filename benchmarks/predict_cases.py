"""The tasks that `benchmarks.predict` measures: a model of each, 64 rows, how the bare pipeline and MLflow are asked.

The models are those of the tests, tiny and random, so that the way to the model and back is measured; and MiniLM.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import transformers
from PIL import Image

from tests import tiny, tiny_seq2seq
from tests.fleet import minilm
from tests.inprocess import seeded
from tests.tiny_native import MAKERS
from warmlane_workers.pipelines.classic import Conversation

ROWS = 64
RATE_HZ = 16_000
_CHOICE = {"candidate_labels": ["animal", "film"], "hypothesis_template": "it is {}"}
_TABLE = {"name": ["cat", "dog"], "colour": ["red", "blue"]}
#: What a model of sounds takes: MLflow decodes the files of the default signature with a program, which may be absent.
_SAMPLES = {
    "inputs": [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}],
    "outputs": [{"type": "string"}],
}


def _call(pipeline: Any, row: Any) -> Any:
    return pipeline(dict(row) if isinstance(row, dict) else row)  # a pipeline of tables writes into what it is given


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        make: the bare pipeline.
        rows: as a predict job has them.
        bare: (pipeline, row) -> anything.
        pyfunc: a row as MLflow's pyfunc takes it, as JSON; None where MLflow has no such pipeline on transformers 5.
        takes_lists: MLflow's pyfunc takes many rows at once; else it is called for each.
        signature: of the saved model; None: that of its task.
    """

    name: str
    make: Callable[[], Any]
    rows: Sequence[Any]
    bare: Callable[[Any, Any], Any] = _call
    pyfunc: Callable[[Any], Any] | None = _same
    takes_lists: bool = True
    signature: Any = None


def _native(kind: str) -> Callable[[], Any]:
    task, make = MAKERS[kind]
    return lambda: transformers.pipeline(task, device="cpu", **seeded(make))


def _classic(task: str, make: Callable[[], tuple[Any, Any]], **options: Any) -> Callable[[], Any]:
    def pipeline() -> Any:
        model, tokenizer = make()
        made: Any = transformers.pipeline
        return made(task, model=model, tokenizer=tokenizer, device="cpu", **options)

    return pipeline


def _real() -> Any:
    return transformers.pipeline("feature-extraction", model=str(minilm()), tokenizer=str(minilm()), device="cpu")


def _sound(number: int) -> Any:
    """A quarter of a second of a note of its own."""
    seconds = numpy.arange(RATE_HZ // 4) / RATE_HZ
    return (0.5 * numpy.sin(2 * math.pi * (300 + 20 * number) * seconds)).astype(numpy.float32)


def _picture(number: int) -> bytes:
    file = io.BytesIO()
    noise = numpy.random.default_rng(number).integers(0, 255, (40, 48, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def _classify_picture(pipeline: Any, row: bytes) -> Any:
    return pipeline(Image.open(io.BytesIO(row)))


def _choose(pipeline: Any, row: dict[str, Any]) -> Any:
    return pipeline(row["sequences"], **_CHOICE)


def _as_json(name: str) -> Callable[[dict[str, Any]], Any]:
    """A row whose field of that name is JSON, as MLflow's signatures want it."""
    return lambda row: {**row, name: json.dumps(row[name])}


def cases() -> list[Case]:
    """All tasks of the guide's table. Those without `pyfunc` are the five whose pipelines transformers 5 removed."""
    texts = tiny.texts(ROWS, longest=12)
    sounds = [_sound(number) for number in range(ROWS)]
    choices = [{"sequences": text, **_CHOICE} for text in texts]
    queries = [{"query": f"what colour {text}", "table": _TABLE} for text in texts]
    questions = [{"question": "what is red ?", "context": text} for text in texts]
    t5, chatter, reader = tiny_seq2seq.t5, tiny_seq2seq.chatter, tiny_seq2seq.reader
    return [
        *(
            Case(kind, _native(kind), texts)
            for kind in ("text-classification", "token-classification", "feature-extraction", "text-generation")
        ),
        Case("fill-mask", _native("fill-mask"), [f"{text} [MASK]" for text in texts]),
        Case(
            "zero-shot-classification",
            _native("zero-shot-classification"),
            choices,
            _choose,
            _as_json("candidate_labels"),
        ),
        Case("table-question-answering", _native("table-question-answering"), queries, pyfunc=_as_json("table")),
        Case(
            "automatic-speech-recognition",
            _native("speech-ctc"),
            sounds,
            pyfunc=numpy.ndarray.tolist,
            takes_lists=False,
            signature=_SAMPLES,
        ),
        Case(
            "audio-classification",
            _native("audio-classification"),
            sounds,
            pyfunc=numpy.ndarray.tolist,
            takes_lists=False,
            signature=_SAMPLES,
        ),
        Case(
            "image-classification",
            _native("image-classification"),
            [_picture(number) for number in range(ROWS)],
            _classify_picture,
            lambda row: base64.b64encode(row).decode(),
        ),
        Case("text2text-generation", _classic("text2text-generation", t5), texts, pyfunc=None),
        Case("summarization", _classic("summarization", t5), texts, pyfunc=None),
        Case("translation", _classic("translation_en_to_fr", t5), texts, pyfunc=None),
        Case("question-answering", _classic("question-answering", reader), questions, pyfunc=None),
        Case(
            "conversational",
            _classic("conversational", chatter, max_new_tokens=20),
            texts,
            lambda pipeline, row: pipeline(Conversation(row)),
            pyfunc=None,
        ),
        Case("feature-extraction, MiniLM", _real, texts),
    ]
