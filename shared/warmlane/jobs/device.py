"""Jobs that need a device: predict, load, unload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from warmlane.errors import InvalidInput
from warmlane.jobs.base import LATER, ModelJob, check_choice, check_flag, check_mapping, set_fields
from warmlane.model import dtype_name
from warmlane.results import Table, is_series
from warmlane.saving import check_plain

RETURN_TYPES = ("pipeline", "components")
#: What a predict answers in: the guide's shapes, what the pipeline itself returns, or the model's own arrays.
OUTPUTS = ("pyfunc", "native", "raw")
#: What fails with a row that cannot be answered: its job, or the row alone.
ON_ERROR = ("job", "row")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictJob(ModelJob):
    """Answer each row of `inputs` with `model`.

    Attributes:
        inputs: one row, or a list of rows, or a pandas Series, or a table; what a row is depends on the task.
        params: keyword arguments of the pipeline, for all rows.
        dtype: answer with the model loaded in this type; default: as it is warm, else as it was saved.
        trust_remote_code: run the model's own code, on a worker that allows it.
        output: "pyfunc" for the guide's shapes, "native" for what the pipeline returns, "raw" for the model's arrays:
            then a row is a dict of its inputs; default: the guide's shape where it has one, else native.
        on_error: "row" answers a row that fails with `{"error": {"code", "message", "details"}}` in its place.
        stream: tell the text of the answer while it is generated; of one row, and not of a list.
    """

    kind: ClassVar[str] = "predict"
    inputs: Any = field(repr=False)
    params: dict[str, Any] = field(default_factory=dict, repr=False)
    dtype: str | None = None
    trust_remote_code: bool = field(default=False, metadata=LATER)
    output: str | None = field(default=None, metadata=LATER)
    on_error: str = field(default="job", metadata=LATER)
    stream: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        ModelJob.__post_init__(self)
        check_mapping("params", self.params)
        check_flag("trust_remote_code", self.trust_remote_code)
        if self.output is not None:
            check_choice("output", self.output, OUTPUTS)
        check_choice("on_error", self.on_error, ON_ERROR)
        check_flag("stream", self.stream)
        if self.stream:
            self._check_stream()
        listed = isinstance(self.inputs, tuple) or is_series(self.inputs)
        inputs = list(self.inputs) if listed else self.inputs  # as it arrives
        set_fields(self, dtype=dtype_name(self.dtype), inputs=inputs)

    def _check_stream(self) -> None:
        if isinstance(self.inputs, list | tuple | Table) and not _is_chat(self.inputs):
            raise InvalidInput(
                "stream: one row has one text; send a job for each row, and messages of a chat as {'messages': [...]}",
                field="inputs",
            )
        if self.output == "raw":
            raise InvalidInput("stream: arrays have no text; leave `output` out, or `stream`", field="output")
        if self.on_error != "job":
            raise InvalidInput("stream: the only row fails with its job; leave `on_error` out", field="on_error")


def _is_chat(inputs: Any) -> bool:
    """Whether a list is one row of a conversational model: its messages."""
    return bool(inputs) and isinstance(inputs, list) and all(isinstance(row, dict) and "role" in row for row in inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob(ModelJob):
    """Warm a model.

    Attributes:
        dtype: load in this type instead of the saved one (the guide, "Scale Inference with Overriding Pytorch dtype").
        return_type: "pipeline", or "components" for models whose parts make no pipeline.
        pin: keep it warm until it is unloaded, whatever else is asked for.
        model_config: parameters of every predict from now on, over those that were saved with the model (the guide,
            "Using model_config and Model Signature Params for Inference"); the next load replaces them.
    """

    kind: ClassVar[str] = "load"
    dtype: str | None = None
    return_type: str = "pipeline"
    pin: bool = False
    trust_remote_code: bool = False
    model_config: dict[str, Any] | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        ModelJob.__post_init__(self)
        set_fields(self, dtype=dtype_name(self.dtype))
        if self.model_config is not None:
            check_plain("model_config", self.model_config)
            if self.return_type != "pipeline":
                raise InvalidInput("model_config: counts for pipelines; leave return_type out", field="model_config")
        check_choice("return_type", self.return_type, RETURN_TYPES)
        check_flag("pin", self.pin)
        check_flag("trust_remote_code", self.trust_remote_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadJob(ModelJob):
    """Free a model on every worker that holds it."""

    kind: ClassVar[str] = "unload"
