"""Tasks whose rows are sounds: speech to text, sounds to labels. Sounds of equal length share batches, unpadded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from warmlane.errors import InvalidParams, SchemaError
from warmlane_workers.tasks import limits, media
from warmlane_workers.tasks.alike import runs_alike
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.generation import check_values
from warmlane_workers.tasks.labels import candidate_labels, check_template
from warmlane_workers.tasks.params import Kind, one_of
from warmlane_workers.tasks.pipeline import PipelineTask

#: Settings of Whisper's own, beside those that every model has which generates.
_WHISPER = frozenset(
    {
        *("language", "task", "condition_on_prev_tokens", "compression_ratio_threshold"),
        *("logprob_threshold", "no_speech_threshold"),
    }
)
#: Parameters of speech recognition that no generation configuration has.
_OWN = frozenset({"chunk_length_s", "stride_length_s", "return_timestamps", "return_language"})


class SoundTask(PipelineTask):
    """A row is a sound, as `media.sound` takes it; or a table's row with one column of sounds.

    Parameter `sampling_rate`: that of samples which do not tell theirs, in Hz; else it is the feature extractor's.
    """

    #: Whether the pipeline's first step reads texts as well.
    reads_texts = False

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        self.rate = int(self.pipeline.feature_extractor.sampling_rate)
        #: Most samples that are heard; what follows is left out. None where all are.
        self.heard = limits.samples(self.pipeline.feature_extractor)
        if not self.reads_texts:
            self._lock = contextlib.nullcontext()  # no tokenizer takes part, and a feature extractor keeps no state

    def parameters(self) -> frozenset[str]:
        return super().parameters() | {"sampling_rate"}

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in params.items() if name != "sampling_rate"}

    def plan(self, params: Mapping[str, Any]) -> Plan:
        plan = super().plan(params)
        given = params.get("sampling_rate")
        if given is None:
            return plan
        try:
            return replace(plan, prepare={**plan.prepare, "sampling_rate": media.checked_rate(given)})
        except SchemaError as exc:
            raise InvalidParams(f"params.{exc.message}", field="params.sampling_rate") from None

    def sound(self, row: Any, plan: Plan) -> media.Samples:
        """A row's samples (n,) at the model's rate."""
        if isinstance(row, dict) and len(row) == 1:
            row = next(iter(row.values()))
        return media.sound(row, self.rate, given=plan.prepare.get("sampling_rate"), reach=self.reach)

    def read(self, row: Any, plan: Plan) -> Any:
        return self.sound(row, plan)

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        return super().items(row, replace(plan, prepare=self.arguments(plan.prepare)))

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        sound = row["audio"] if isinstance(row, dict) else row  # (n,)
        return self.heard is not None and len(sound) > self.heard

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        parts = super().prepare(row, plan)
        count = getattr(self.model, "_get_feat_extract_output_lengths", None)
        for part in parts:
            waves = part.inputs.get("input_values")  # (1, samples)
            if count is not None and isinstance(waves, torch.Tensor) and int(count(waves.shape[-1])) < 1:
                raise SchemaError("a sound is too short for this model to hear anything", field="inputs")
        return parts

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        yield from runs_alike(batch)


class AudioClassification(SoundTask):
    """Result: a `Table` with the columns score and label: of a single sound one row a label, best first."""


class SpeechRecognition(SoundTask):
    """Result: a list of str, one text a row; with `return_timestamps` the text and its chunks as JSON.

    A long sound is read in pieces: by Whisper as its authors do, of 30 s each; by a CTC model as `chunk_length_s` says.
    """

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        self.heard = None
        self.whisper = self.pipeline.type == "seq2seq_whisper"
        self.generates = self.whisper or self.pipeline.type in ("seq2seq", "tdt")

    def parameters(self) -> frozenset[str]:
        own = _OWN | {"sampling_rate"}
        if not self.generates:
            return own - {"return_language"}
        names = super().parameters() - {"ignore_warning", "decoder_kwargs"}
        if not self.whisper:
            return names - {"return_language"}
        # A model of English only knows no choice of languages.
        return names | (_WHISPER if self._languages() else _WHISPER - {"language", "task"})

    def kind_of(self, name: str) -> Kind | None:
        if name != "return_timestamps":
            return super().kind_of(name)
        return one_of(True, False, "word") if self.whisper else one_of(False, "char", "word")

    def check_params(self, params: Mapping[str, Any]) -> None:
        super().check_params(params)
        for name in ("chunk_length_s", "stride_length_s"):
            if not all(_seconds(value) for value in _listed(params.get(name))):
                raise InvalidParams(f"params.{name}: seconds, a number from 0", field=f"params.{name}")
        length, strides = params.get("chunk_length_s") or 0, _listed(params.get("stride_length_s"))
        if length and len(strides) > 0 and sum(strides) * (2 if len(strides) == 1 else 1) >= length:
            raise InvalidParams(
                "params.stride_length_s: seconds, on both sides together less than chunk_length_s",
                field="params.stride_length_s",
            )
        if self.generates:
            check_values(params, _OWN | _WHISPER | {"sampling_rate"})
        if params.get("task") not in (None, "transcribe", "translate"):
            raise InvalidParams("params.task: 'transcribe' or 'translate'", field="params.task")
        language = params.get("language")
        if language is not None and not (isinstance(language, str) and language.lower() in self._languages()):
            raise InvalidParams("params.language: none that this model hears", field="params.language")

    def _languages(self) -> frozenset[str]:
        """The codes and names of the languages that a Whisper model can be told; none of one of English only."""
        marks = getattr(self.model.generation_config, "lang_to_id", None) or {}  # {"<|en|>": 50259, …}
        codes = {mark.strip("<|>") for mark in marks}
        return frozenset(codes | {name for name, code in TO_LANGUAGE_CODE.items() if code in codes} | set(marks))

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        kept = super().arguments(params)
        if kept.get("return_timestamps") is False:  # what it is anyway; some models take no such word
            del kept["return_timestamps"]
        return kept

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        for group in super().groups(batch):
            if self.generates and not (self.whisper and not self._long(group[0])):
                yield from ([part] for part in group)
            else:
                yield group

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        timed, told = plan.forward.get("return_timestamps"), plan.forward.get("return_language")
        # Of a batch the pipeline tells the first row's language only; words are timed, and tokens drawn, row by row.
        alone = timed == "word" or told or plan.forward.get("do_sample")
        outputs: list[Any] = []
        for group in self.groups(batch):
            for shared in [[part] for part in group] if alone else [group]:
                outputs += super().forward(shared, self._reading(shared, plan))
        return outputs

    def _reading(self, group: Sequence[Prepared], plan: Plan) -> Plan:
        """Whisper finds its way through a long sound by time stamps, whether or not the job wants to see them."""
        if not self._long(group[0]) or plan.forward.get("return_timestamps"):
            return plan
        return replace(plan, forward={**plan.forward, "return_timestamps": True})

    def _long(self, part: Prepared) -> bool:
        """Whether it is longer than the 30 s that Whisper reads at once."""
        features = part.inputs.get("input_features")  # (1, mel bands, frames)
        limit = getattr(self.pipeline.feature_extractor, "nb_max_frames", None)
        return self.whisper and limit is not None and features is not None and features.shape[-1] > limit


class ZeroShotAudioClassification(SoundTask):
    """Result: of each row a list of `{"score", "label"}`, best first.

    A row is a dict of `audio`, `candidate_labels` and perhaps `hypothesis_template`; or a sound, with the labels among
    the parameters.
    """

    reads_texts = True
    allowed = frozenset({"candidate_labels", "hypothesis_template"})

    def parameters(self) -> frozenset[str]:
        return super().parameters() | {"sampling_rate"}

    def read(self, row: Any, plan: Plan) -> Any:
        own = dict(row) if isinstance(row, dict) and "audio" in row else {"audio": row}
        unknown = set(own) - {"audio", *self.allowed}
        if unknown:
            raise SchemaError("a row has the keys audio, candidate_labels, hypothesis_template", field="inputs")
        options = {**plan.prepare, **{name: value for name, value in own.items() if value is not None}}
        labels = candidate_labels(options.get("candidate_labels"))
        template = check_template(options.get("hypothesis_template", "This is a sound of {}."))
        sound = self.sound(own["audio"], plan)
        return {"audio": sound, "candidate_labels": labels, "hypothesis_template": template}

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        options = {name: value for name, value in row.items() if name != "audio"}
        item = self.pipeline.preprocess(row["audio"], **options)
        for tokens in limits.token_counts(item):
            limits.check(tokens, limits.positions(self.model), "shorten its labels")
        return [item]

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        yield from ([part] for part in batch)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")
