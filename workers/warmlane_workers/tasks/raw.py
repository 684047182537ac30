"""The model alone: input arrays to output arrays, for a caller that has the tokenizer in a place of its own.

The guide's micro-service case ("Pipelines vs. Component Logging"): what the pipeline would do before and after the
model is the caller's. Knows no pipeline.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy
import torch

from warmlane import codec
from warmlane.errors import InvalidParams, SchemaError, UnsupportedTask
from warmlane.results import NDArray
from warmlane_workers.pipelines.memory import is_exhausted
from warmlane_workers.tasks.arrays import Arrays, wrong
from warmlane_workers.tasks.base import Plan, Prepared, Task
from warmlane_workers.tasks.native import plain

#: Switches of a forward call that a caller may set: what else the model gives.
SWITCHES = ("output_hidden_states", "output_attentions")
#: Arguments of a forward call that are no arrays, that change what comes back, or that are for training.
_CLOSED = frozenset(
    {
        *("self", "return_dict", "use_cache", "past_key_values", "encoder_outputs", "logits_to_keep", *SWITCHES),
        *("interpolate_pos_encoding", "return_loss"),
        *("labels", "aggregation_labels", "start_positions", "end_positions", "next_sentence_label"),
    }
)
#: What a model raises of arrays that it cannot read together.
_MODEL_SAYS = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)


class RawTask(Task):
    """Result: one dict of arrays a row, by the model's own names: `logits`, `last_hidden_state`, `hidden_states`, …

    A row is a dict of the model's inputs, as a tokenizer or a feature extractor makes them: arrays with a batch
    dimension, and so are the outputs, or without one (a tokenizer's plain lists), and then neither have the outputs.
    Caches (`past_key_values`) do not travel.
    """

    def __init__(self, components: Mapping[str, Any]) -> None:
        if components.get("model") is None:
            raise UnsupportedTask(f"{components['task']} has no model whose arrays could be asked for")
        self.model = components["model"]
        self._arrays = Arrays(self.model, _CLOSED)
        self._fixed = {"use_cache": False} if "use_cache" in inspect.signature(self.model.forward).parameters else {}

    def plan(self, params: Mapping[str, Any]) -> Plan:
        for name, value in params.items():
            if name not in SWITCHES or not isinstance(value, bool):
                raise InvalidParams(
                    f"params: raw output takes {', '.join(SWITCHES)}, true or false",
                    field=f"params.{name}",
                    allowed=list(SWITCHES),
                )
        group = codec.encode("group", dict(sorted(params.items())))
        return Plan(forward={**params, **self._fixed}, group=group)

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        names = self._arrays.names
        given = {name: value for name, value in row.items() if value is not None} if isinstance(row, dict) else {}
        if not given or not set(given) <= names:
            raise SchemaError(
                f"a row is a dict of the model's input arrays, of {', '.join(sorted(names))}", field="inputs"
            )
        tensors, lone = self._arrays.batched({name: self._tensor(name, value) for name, value in given.items()})
        size = next((tensor.shape[-1] for name, tensor in tensors.items() if name.endswith("input_ids")), 0)
        numbers = sum(tensor.numel() for tensor in tensors.values())
        return [Prepared({"tensors": tensors, "lone": lone}, size or max(1, numbers // 1000))]

    def _tensor(self, name: str, value: Any) -> torch.Tensor:
        try:
            array = value.to_numpy() if isinstance(value, NDArray) else numpy.asarray(value)
            tensor = torch.from_numpy(numpy.ascontiguousarray(array))
        except (TypeError, ValueError) as exc:
            says = "no array of numbers; texts of several lengths are padded to one, or sent as a row each"
            raise wrong(name, says) from exc
        if tensor.is_floating_point():
            return tensor.to(self.model.dtype)
        return tensor if tensor.dtype is torch.bool else tensor.long()  # numpy makes other integers on some machines

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        found: list[Any] = []
        for group in _alike(batch):
            found += self._run(group, plan)
        return found

    def _run(self, group: Sequence[Prepared], plan: Plan) -> list[Any]:
        """The group at once, where its outputs can be told apart again; else one by one."""
        sizes = [len(next(iter(part.inputs["tensors"].values()))) for part in group]
        first = group[0].inputs["tensors"]
        tensors = {name: torch.cat([part.inputs["tensors"][name] for part in group]) for name in first}
        output = self._call(tensors, plan)
        if len(group) == 1:
            part = group[0]
            return [_each(output, lambda array: array[0] if array.ndim else array) if part.inputs["lone"] else output]
        if not _all(output, lambda array: array.ndim > 0 and len(array) == sum(sizes)):
            return [answer for part in group for answer in self._run([part], plan)]
        answers, at = [], 0
        for part, size in zip(group, sizes, strict=True):
            place = at if part.inputs["lone"] else slice(at, at + size)
            answers.append(_each(output, operator.itemgetter(place)))
            at += size
        return answers

    def _call(self, tensors: Mapping[str, torch.Tensor], plan: Plan) -> Any:
        """The model's answer.

        Raises:
            SchemaError: it cannot read the arrays together.
        """
        try:
            with torch.inference_mode():
                placed = {name: tensor.to(self.model.device) for name, tensor in tensors.items()}
                return _plain(self.model(**placed, return_dict=True, **plan.forward))
        except _MODEL_SAYS as exc:
            if isinstance(exc, torch.AcceleratorError) or is_exhausted(exc):
                raise  # the device's trouble, and not the row's
            shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
            hint = ""
            if self.model.config.is_encoder_decoder and "decoder_input_ids" not in tensors:
                hint = "; this one may need decoder_input_ids"
            raise SchemaError(
                f"inputs: the model cannot read {shapes} together ({type(exc).__name__}); send all that its tokenizer "
                f"or processor makes, in those sizes{hint}",
                field="inputs.decoder_input_ids" if hint else "inputs",
            ) from exc

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        return outputs[0]

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        return answers[0] if single else answers


def _alike(batch: Sequence[Prepared]) -> Iterator[list[Prepared]]:
    """Parts whose arrays have the same names, types and shapes but for the first dimension, next to each other."""
    group: list[Prepared] = []
    for part in batch:
        if group and _kind(part) != _kind(group[0]):
            yield group
            group = []
        group.append(part)
    yield group


def _kind(part: Prepared) -> Any:
    return {name: (tensor.dtype, tensor.shape[1:]) for name, tensor in part.inputs["tensors"].items()}


def _plain(value: Any) -> Any:
    """A model's output as arrays in dicts and lists; what is neither, e.g. a cache, is left out."""
    if isinstance(value, torch.Tensor):
        return plain(value)
    if isinstance(value, Mapping):
        found = {str(name): _plain(item) for name, item in value.items()}
        return {name: item for name, item in found.items() if item is not None}
    if isinstance(value, tuple | list):
        return [found for item in value if (found := _plain(item)) is not None]
    return None


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {name: _each(item, change) for name, item in value.items()}
    return [_each(item, change) for item in value] if isinstance(value, list) else change(value)


def _all(value: Any, check: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return bool(check(value)) if items is None else all(_all(item, check) for item in items)
