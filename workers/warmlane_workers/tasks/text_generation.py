"""Text generation: a prompt to the prompt and what follows it. Batches are static, padded on the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import GenerationConfig

from warmlane.errors import InvalidParams, SchemaError
from warmlane_workers.tasks.base import PipelineTask, Plan, Prepared

#: Parameters of the pipeline itself; all others are those of a generation configuration.
_OWN = frozenset(
    {"return_full_text", "clean_up_tokenization_spaces", "prefix", "stop_sequence", "truncation", "add_special_tokens"}
)
#: Generation settings that are internal, or would name code or files.
_CLOSED = frozenset({"transformers_version", "generation_kwargs", "compile_config", "watermarking_config"})


_DEFAULTS = GenerationConfig()  # type: ignore[no-untyped-call]


class TextGeneration(PipelineTask):
    """Result: a list of str, one a prompt. Parameters: those of a `GenerationConfig`, a few of the pipeline."""

    #: A step costs one token a row, whatever the prompt's length, so far more rows pay.
    budget_factor = 16
    allowed = _OWN | {name for name in vars(_DEFAULTS) if not name.startswith("_")} - _CLOSED

    def plan(self, params: Mapping[str, Any]) -> Plan:
        if params.get("num_return_sequences", 1) not in (1, None):
            raise InvalidParams(
                "params.num_return_sequences: a row has one output; send the prompt once for each sample you want",
                field="params.num_return_sequences",
            )
        plan = super().plan(params)
        if params.get("truncation") and "max_length" not in params and self.max_length is not None:
            room = max(1, self.max_length - (params.get("max_new_tokens") or 0))
            plan = replace(plan, prepare={**plan.prepare, "tokenizer_encode_kwargs": {"max_length": room}})
        return plan

    def prepare(self, row: Any, plan: Plan) -> Prepared:
        if not isinstance(row, str):
            raise SchemaError("a row is a str", field="inputs")
        return super().prepare(row, plan)

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        # `generate` must not see another batch's settings: the mappings of a plan are shared, so it gets copies.
        output = self.pipeline.forward(self.collate(batch), **dict(plan.forward))
        return [
            {
                "generated_sequence": output["generated_sequence"][index : index + 1],  # (1, 1, padded prompt + new)
                "input_ids": output["input_ids"][index : index + 1],  # (1, padded prompt)
                "prompt_text": row.inputs["prompt_text"],
            }
            for index, row in enumerate(batch)
        ]

    def finish(self, output: Any, plan: Plan) -> Any:
        return self.pipeline.postprocess(output, **plan.finish)[0]["generated_text"]

    def assemble(self, answers: list[Any], single: bool) -> list[str]:
        return answers
