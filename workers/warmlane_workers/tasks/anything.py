"""Any other task that transformers has a pipeline for, each row answered as the bare pipeline answers it alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
from transformers.pipelines.base import ChunkPipeline

from warmlane.errors import InputTooLong, SchemaError
from warmlane.results import NDArray
from warmlane_workers.tasks import asked, limits, media
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.calls import Call, first_names, told
from warmlane_workers.tasks.pipeline import GENERATION, PipelineTask, installed, readable

#: Tasks whose row may be a picture, and no dict around it.
_PICTURES = frozenset(
    {
        *("image-feature-extraction", "image-segmentation", "object-detection", "depth-estimation", "mask-generation"),
        *("zero-shot-image-classification", "zero-shot-object-detection", "keypoint-matching"),
    }
)
#: Arguments of steps that are a row's, or that no caller gives: one holds flags of a program of the system.
_NOT_PARAMETERS = frozenset(
    {"word_boxes", "parameters", "assistant_model", "assistant_tokenizer", "timeout", "tesseract_config"}
)
#: What a pipeline's call takes beside its first argument and a row may leave to its job.
_ROW_OR_PARAMETER = frozenset({"candidate_labels"})
#: Where a part of a message says what is to be seen or heard.
_SOURCES = ("url", "path", "base64")


@dataclass(frozen=True, slots=True)
class _Part(Prepared):
    """A part of a row, and the row's own arguments of the steps that follow."""

    call: Call


class AnyTask(PipelineTask):
    """Result: what the pipeline returns, one answer a row, as plain data.

    A row is the first argument of the pipeline's call, or a dict of its arguments: `{"image", "candidate_labels"}`,
    `{"image", "question"}`, `{"images", "text"}`, … Pictures and sounds travel as `media` reads them.
    """

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        known = inspect.signature(self.pipeline._sanitize_parameters).parameters
        self._takes_generation = "generate_kwargs" in known
        self._direct = frozenset(known)
        extractor = self.pipeline.feature_extractor or getattr(self.pipeline.processor, "feature_extractor", None)
        self._max_length = limits.positions(self.model)
        if self.tokenizer is not None:
            limits.align(self.tokenizer, self._max_length)
        self._rate = getattr(extractor, "sampling_rate", None)

    def parameters(self) -> frozenset[str]:
        steps = (self.pipeline.preprocess, self.pipeline._forward, self.pipeline.postprocess)
        named = (list(inspect.signature(step).parameters.values())[1:] for step in steps)
        keywords = {spec.name for specs in named for spec in specs if spec.kind is not inspect.Parameter.VAR_KEYWORD}
        keywords |= _ROW_OR_PARAMETER & set(inspect.signature(self.pipeline.__call__).parameters)
        return (super().parameters() | {name for name in keywords if not name.endswith("kwargs")}) - _NOT_PARAMETERS

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if not self._takes_generation:
            return dict(params)
        settings = {name: value for name, value in params.items() if name in GENERATION - self._direct}
        rest = {name: value for name, value in params.items() if name not in settings}
        return {**rest, "generate_kwargs": settings} if settings else rest

    def plan(self, params: Mapping[str, Any]) -> Plan:
        return replace(super().plan(params), prepare=self.arguments(params))

    def read(self, row: Any, plan: Plan) -> Any:
        """A row with pictures and samples in the places of what they travelled as."""
        taken = self._taken(dict(row) if isinstance(row, dict) else row)
        asked.check(self.pipeline, taken, plan.prepare)
        return taken

    def _taken(self, row: Any) -> Any:
        if self.task in _PICTURES and not isinstance(row, dict):
            return self._pictures(row)
        if self.task == "image-text-to-text" and not isinstance(row, dict):
            row = {"text": row}
        if isinstance(row, dict) and "messages" in row:
            row["text"] = row.pop("messages")
        self._check_names(row)
        return self._media(row)

    def _check_names(self, row: Any) -> None:
        """A call would hand what it does not know on to its steps, or drop it in silence."""
        first = first_names(self.pipeline)
        if isinstance(row, dict) and not first.isdisjoint(row) and not set(row) <= first | self.parameters():
            known = ", ".join(sorted(first | self.parameters() - GENERATION))
            raise SchemaError(f"a dict of arguments has keys of {known}", field="inputs")

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        taken = self.read(row, plan)
        with self._lock, readable():
            call = told(self.pipeline, taken, plan.prepare)
            items = self.items(call.inputs, replace(plan, prepare=call.prepare))
        for tokens in (count for item in items for count in limits.token_counts(item)):
            limits.check(tokens, self._max_length, "shorten the text")
        return [_Part(dict(item), self.length(item), call) for item in items]

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        return [self._run(part) for part in batch if isinstance(part, _Part)]

    def _run(self, part: _Part) -> tuple[Call, Any]:
        try:
            return part.call, self.pipeline.forward(dict(part.inputs), **part.call.forward)
        except IndexError as exc:  # of a model that does not say how many positions it has
            raise InputTooLong("a row is longer than the model's positions; shorten it", field="inputs") from exc

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        found = [output for _, output in outputs]
        steps = outputs[0][0].finish
        chunked = isinstance(self.pipeline, ChunkPipeline)
        with installed():
            return self.pipeline.postprocess(found if chunked else found[0], **steps)

    def _media(self, value: Any, name: str = "") -> Any:
        if name in ("image", "images") or (name == "inputs" and self.task in _PICTURES):
            return self._pictures(value)
        if name in ("audio", "audios"):
            return self._sound(value)
        if name in ("video", "videos"):
            return _frames(value)
        if isinstance(value, list):
            return [self._media(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind = value.get("type")
        if kind in ("image", "audio", "video"):  # a part of a message
            source = next((value[key] for key in (kind, *_SOURCES) if key in value), None)
            return {"type": kind, kind: self._media(source, kind)}
        return {key: self._media(item, key) for key, item in value.items()}

    def _pictures(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._pictures(item) for item in value]
        if isinstance(value, dict):
            return self._media(value)
        return None if value is None else media.picture(value, reach=self.reach)

    def _sound(self, value: Any) -> Any:
        if value is None:
            return None
        if self._rate is None:
            raise SchemaError("this model hears nothing; leave the sound out", field="inputs.audio")
        return media.sound(value, int(self._rate), reach=self.reach)


def _frames(value: Any) -> Any:
    """Pictures one after the other, (frames, height, width, 3); a file is not taken apart here."""
    if value is None or isinstance(value, numpy.ndarray):
        return value
    if isinstance(value, NDArray):
        return value.to_numpy()
    raise SchemaError("a video is an array (frames, height, width, 3)", field="inputs.videos")
