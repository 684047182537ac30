"""Tasks that a transformers pipeline answers, whatever its type: its own steps, taken apart, so that rows of many jobs
meet on the device and each answer is what the bare pipeline gives to its row alone.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationConfig
from transformers.pipelines.base import ChunkPipeline, PipelineException
from transformers.pipelines.pt_utils import PipelineIterator

from warmlane import codec
from warmlane.errors import InputTooLong, InvalidParams, MissingExtra, SchemaError
from warmlane_workers.pipelines.build import build_pipeline, lacking
from warmlane_workers.tasks import limits
from warmlane_workers.tasks import params as kinds
from warmlane_workers.tasks.base import Plan, Prepared, Task
from warmlane_workers.tasks.native import plain
from warmlane_workers.tasks.outputs import guide_output, has_shape

#: Generation settings that are internal, would name code or files, or need objects that do not travel.
CLOSED = frozenset(
    {
        *("transformers_version", "generation_kwargs", "compile_config", "watermarking_config"),
        *("cache_implementation", "cache_config", "constraints", "force_words_ids", "num_beam_groups"),
        "continuous_batching_config",
        *("dola_layers", "token_healing", "is_assistant", "assistant_early_exit", "prompt_lookup_num_tokens"),
    }
)
_DEFAULTS = GenerationConfig()  # type: ignore[no-untyped-call]
#: The parameters of a generation configuration.
GENERATION = frozenset(name for name in vars(_DEFAULTS) if not name.startswith("_")) - CLOSED
#: Arguments of a pipeline's steps that no caller gives.
_NOT_PARAMETERS = frozenset({"self", "kwargs", "pipeline_parameters", "generate_kwargs", "tokenizer_kwargs", "timeout"})
#: What a pipeline raises of parameters that it does not take.
_REFUSALS = (TypeError, ValueError, KeyError, AttributeError)


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Around a pipeline's own steps, some of which import what they need when they run.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        yield
    except ImportError as exc:
        raise MissingExtra(f"this task needs a package that the worker lacks: {lacking(exc)}") from exc


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """What a pipeline's first step says of a row in its own errors.

    Raises:
        SchemaError: names the error's type, never the row; it is its `cause`, since nobody knows more.
        InputTooLong: it cannot be cut as the parameters say.
        MissingExtra: it needs a package that is not installed.
    """
    try:
        with installed():
            yield
    except (PipelineException, ValueError, TypeError, KeyError, IndexError, AttributeError, OSError) as exc:
        raise SchemaError(
            f"the pipeline cannot read a row ({type(exc).__name__}); see the inputs of its task in docs/predict.md",
            field="inputs",
            cause=type(exc).__name__,
        ) from exc
    except Exception as exc:
        if type(exc) is not Exception:
            raise
        # The only error of `tokenizers` without a type of its own: a strategy that cannot cut enough.
        raise InputTooLong(
            "a row is too long, and the part of it that may be cut is absent or too short; shorten the other part",
            field="inputs",
        ) from exc


#: Tokenizer -> what whoever uses it holds; adapters of one base share theirs.
_LOCKS: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()


def _lock_of(tokenizer: Any) -> threading.Lock:
    """A fast tokenizer keeps its truncation and padding in itself and refuses to change them while it is in use."""
    return threading.Lock() if tokenizer is None else _LOCKS.setdefault(tokenizer, threading.Lock())


class PipelineTask(Task):
    """A task answered by a transformers pipeline of any type; a family that can share batches says how."""

    #: Parameters that may be passed; None: those that the pipeline's class knows.
    allowed: frozenset[str] | None = None

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        self.task = components["task"]
        self.pipeline = build_pipeline(components, record)
        self.model = self.pipeline.model
        self.tokenizer = self.pipeline.tokenizer
        self._lock: contextlib.AbstractContextManager[Any] = _lock_of(self.tokenizer)
        self._vocabulary = limits.vocabulary(self.model)
        self._writes = self.pipeline._pipeline_calls_generate and self.model.can_generate()
        self._named = frozenset(inspect.signature(self.pipeline._sanitize_parameters).parameters)

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        try:
            prepare, forward, finish = self._sorted(params)
        except _REFUSALS as exc:
            raise self._refused(params, exc) from exc
        pipeline = self.pipeline  # what the saved pipeline was constructed with, under what the job says
        group = codec.encode("group", dict(sorted(params.items())))
        return Plan(
            {**pipeline._preprocess_params, **prepare},
            {**pipeline._forward_params, **forward},
            {**pipeline._postprocess_params, **finish},
            group,
        )

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A job's parameters as the pipeline's own."""
        return dict(params)

    def parameters(self) -> frozenset[str]:
        """The names of the parameters that may be passed."""
        if self.allowed is not None:
            return self.allowed
        names = self._named - _NOT_PARAMETERS
        return names | GENERATION if self._writes else names

    def kind_of(self, name: str) -> kinds.Kind | None:
        """What a parameter may be; None where the pipeline alone knows."""
        if self._writes and not (name in self._named and name in kinds.KINDS):
            return kinds.generation_kind(name, self._vocabulary) or kinds.KINDS.get(name)
        return kinds.KINDS.get(name)

    def check_params(self, params: Mapping[str, Any]) -> None:
        """Refuse what can be known to be wrong before a row is read.

        Raises:
            InvalidParams: names the parameter, and what there is, or what it may be.
        """
        allowed = self.parameters()
        unknown = sorted(set(params) - allowed)
        if unknown:
            raise InvalidParams(
                f"params: no parameter is called {unknown[0]!r}; {self._allowed_text()}",
                field=f"params.{unknown[0]}",
                allowed=sorted(allowed),
            )
        kinds.check(params, self.kind_of)

    def _sorted(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Parameters by the pipeline's step that takes them."""
        steps: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
        steps = self.pipeline._sanitize_parameters(**self.arguments(params))
        return steps

    def _refused(self, params: Mapping[str, Any], error: Exception) -> InvalidParams:
        """What to say of parameters that the pipeline does not take; of one that it takes not even alone, its name."""
        name = next((name for name, value in params.items() if not self._takes({name: value})), None)
        if name is None:
            names = ", ".join(sorted(params))
            return InvalidParams(
                f"params: the pipeline does not take these together ({type(error).__name__}): {names}; leave one out",
                field="params",
            )
        return InvalidParams(
            f"params.{name}: the pipeline does not take this value ({type(error).__name__}); check its type and range",
            field=f"params.{name}",
        )

    def _takes(self, params: Mapping[str, Any]) -> bool:
        try:
            self._sorted(params)
        except _REFUSALS:
            return False
        return True

    def _allowed_text(self) -> str:
        names = ", ".join(sorted(self.parameters()))
        return f"allowed are {names}" if names else "the task takes none"

    def read(self, row: Any, plan: Plan) -> Any:
        """A row as the pipeline takes it.

        Raises:
            SchemaError: it is none.
        """
        return row

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        taken = self.read(row, plan)
        with self._lock, readable():
            items = self.items(taken, plan)
        return self.parts(taken, items, plan)

    def parts(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> list[Prepared]:
        """What the pipeline's first step made of a row, ready for the device.

        Raises:
            InputTooLong: the model does not read so much.
        """
        with self._lock, readable():
            cut = self.was_cut(row, items, plan)
        parts = [Prepared(dict(item), self.length(item), truncated=cut) for item in items]
        for part in parts:
            self.check_length(part.length, plan)
        return parts

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        """What the pipeline's first step makes of a row."""
        made = self.pipeline.preprocess(row, **plan.prepare)
        return list(made) if isinstance(self.pipeline, ChunkPipeline) else [made]

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        """Whether the pipeline's first step left out the end of a row."""
        return False

    def length(self, item: Mapping[str, Any]) -> int:
        """What a part counts in a batch: its tokens, or for sounds and pictures the thousandth of its numbers."""
        if isinstance(item.get("input_ids"), torch.Tensor):
            return int(item["input_ids"].shape[-1])
        numbers = sum(value.numel() for value in item.values() if isinstance(value, torch.Tensor))
        return max(1, numbers // 1000)

    def check_length(self, length: int, plan: Plan) -> None:
        """Refuse a part that the model would end in an index error."""

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        outputs: list[Any] = []
        for group in self.groups(batch):
            items = dict(group[0].inputs) if len(group) == 1 else self.collate(group)
            found = PipelineIterator(  # type: ignore[no-untyped-call]
                [items], self.pipeline.forward, self.call_settings(group, plan), loader_batch_size=len(group)
            )
            outputs += list(found)
        return outputs

    def call_settings(self, batch: Sequence[Prepared], plan: Plan) -> dict[str, Any]:
        """What the pipeline's second step is called with, beside the batch."""
        return dict(plan.forward)

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        """The parts that can be run at once, in order; here each alone."""
        for part in batch:
            yield [part]

    def collate(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        """Several parts as one dict of tensors (batch, …)."""
        stacked: dict[str, Any] = {}
        for name, value in batch[0].inputs.items():
            values = [part.inputs[name] for part in batch]
            stacked[name] = torch.cat(values) if isinstance(value, torch.Tensor) else values
        return stacked

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        chunked = isinstance(self.pipeline, ChunkPipeline)
        return self.pipeline.postprocess(outputs if chunked else outputs[0], **plan.finish)

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        if output != "native" and has_shape(self.task):
            return guide_output(self.task, answers, single=single)
        if output == "pyfunc":
            raise InvalidParams(f"output: the guide has no shape for {self.task}; ask for 'native'", field="output")
        found = [plain(answer) for answer in answers]
        return found[0] if single else found
