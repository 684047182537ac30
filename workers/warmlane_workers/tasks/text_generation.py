"""Text generation: a prompt to the prompt and what follows it. Batches are static, padded on the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from warmlane.errors import InvalidParams
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.generation import GeneratingTask, check_values
from warmlane_workers.tasks.pipeline import GENERATION
from warmlane_workers.tasks.trimming import INSTRUCTIONAL, TRIMMING, split, trimmed

#: Parameters of the pipeline itself; all others are those of a generation configuration.
_OWN = frozenset(
    {"return_full_text", "clean_up_tokenization_spaces", "prefix", "stop_sequence", "truncation", "add_special_tokens"}
)


class TextGeneration(GeneratingTask):
    """Result: a list of str, one a prompt. Parameters: those of a `GenerationConfig`, a few of the pipeline."""

    allowed = _OWN | GENERATION | set(TRIMMING)

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        params, trimming = split(params)
        if self.instance_type != INSTRUCTIONAL:
            trimming.pop("include_prompt", None)  # as in MLflow: other pipelines have `return_full_text`
        check_values(params, _OWN)
        plan = super().plan(params)
        if params.get("truncation") and "max_length" not in params and self.max_length is not None:
            new = self._new_tokens(plan, 0) if self._positions_end else params.get("max_new_tokens") or 0
            room = max(1, self.max_length - new)
            prepare = {**plan.prepare, "tokenizer_encode_kwargs": {"max_length": room}}
            plan = replace(plan, prepare=prepare, cut_at=room)
        return replace(plan, finish={**plan.finish, **trimming}) if trimming else plan

    def check_stream(self, parts: Sequence[Prepared], plan: Plan) -> None:
        super().check_stream(parts, plan)
        if plan.finish.get("include_prompt") is False:
            raise InvalidParams(
                "stream: whether a text begins with its prompt is known at its end only; leave `include_prompt` out, "
                "or `stream`",
                field="params.include_prompt",
            )

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        return [output for rows in self.runs(batch, plan) for output in self._generate(rows, plan)]

    def _generate(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        # `generate` must not see another batch's settings: the mappings of a plan are shared, so it gets copies.
        output = self.pipeline.forward(self._together(batch), **self.call_settings(batch, plan))
        return [
            {
                "generated_sequence": output["generated_sequence"][index : index + 1],  # (1, 1, padded prompt + new)
                "input_ids": output["input_ids"][index : index + 1],  # (1, padded prompt)
                "prompt_text": row.inputs["prompt_text"],
            }
            for index, row in enumerate(batch)
        ]

    def _together(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        if len(batch) > 1:
            return self.collate(batch)
        return {name: value if isinstance(value, torch.Tensor) else [value] for name, value in batch[0].inputs.items()}

    def so_far(self, part: Prepared, tokens: list[int], plan: Plan) -> Any:
        prompt = part.inputs["input_ids"]  # (1, prompt)
        sequence = torch.cat([prompt, torch.tensor([tokens], dtype=prompt.dtype)], dim=1)
        return {"generated_sequence": sequence[None], "input_ids": prompt, "prompt_text": part.inputs["prompt_text"]}

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        options, trimming = split(plan.finish)
        records = self.pipeline.postprocess(outputs[0], **options)
        if trimming:
            for record in records:
                if isinstance(record.get("generated_text"), str):
                    record["generated_text"] = trimmed(record["generated_text"], outputs[0]["prompt_text"], **trimming)
        return records
