"""Text generation: a prompt to the prompt and what follows it. Batches are static, padded on the left."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from warmlane.errors import InputTooLong, InvalidParams
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.generation import check_values
from warmlane_workers.tasks.pipeline import GENERATION
from warmlane_workers.tasks.text import TextTask

#: Parameters of the pipeline itself; all others are those of a generation configuration.
_OWN = frozenset(
    {"return_full_text", "clean_up_tokenization_spaces", "prefix", "stop_sequence", "truncation", "add_special_tokens"}
)
#: Settings that count a row's tokens or look at them, with the value that switches each off. Padding would count too.
_SEES_PADDING: Mapping[str, Any] = {
    "max_length": None,
    "min_length": 0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "bad_words_ids": None,
}
#: Embeddings of positions, by the names that models give them. A model without one computes its positions.
_POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings")


class TextGeneration(TextTask):
    """Result: a list of str, one a prompt. Parameters: those of a `GenerationConfig`, a few of the pipeline."""

    #: A step costs one token a row, whatever the prompt's length, so far more rows pay.
    budget_factor = 16
    allowed = _OWN | GENERATION

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        tables = (module for name, module in self.model.named_modules() if name.endswith(_POSITION_TABLES))
        #: Whether a text longer than `max_length` has no positions, and would end in an index error.
        self._positions_end = any(isinstance(module, torch.nn.Embedding) for module in tables)

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        check_values(params, _OWN)
        plan = super().plan(params)
        if params.get("stop_strings"):
            plan = replace(plan, forward={**plan.forward, "tokenizer": self.tokenizer})
        if params.get("truncation") and "max_length" not in params and self.max_length is not None:
            new = self._new_tokens(plan, 0) if self._positions_end else params.get("max_new_tokens") or 0
            room = max(1, self.max_length - new)
            plan = replace(plan, prepare={**plan.prepare, "tokenizer_encode_kwargs": {"max_length": room}})
        return plan

    def _settings(self, plan: Plan) -> dict[str, Any]:
        """What `generate` will go by: the job's settings over the model's."""
        settings: dict[str, Any] = self.pipeline._get_set_generation_params(dict(plan.forward))
        return settings

    def _new_tokens(self, plan: Plan, length: int) -> int:
        """The most tokens that follow a prompt of some length."""
        settings = self._settings(plan)
        if settings.get("max_new_tokens") is not None:
            return int(settings["max_new_tokens"])
        if settings.get("max_length") is not None:
            return max(0, int(settings["max_length"]) - length)
        return int(self.pipeline._default_generation_config.max_new_tokens)

    def check_length(self, length: int, plan: Plan) -> None:
        super().check_length(length, plan)
        new = self._new_tokens(plan, length)
        # The last token is given out and not read again.
        if self._positions_end and self.max_length is not None and length + new - 1 > self.max_length:
            raise InputTooLong(
                f"a row of {length} tokens may grow by {new}, the model has {self.max_length} positions; "
                "lower max_new_tokens, or shorten the prompt",
                tokens=length + new,
                limit=self.max_length,
            )

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        if not self._sees_padding(plan):
            return self._generate(batch, plan)
        # Only rows of one length: these need no padding. A batch comes in ascending order of length.
        groups = itertools.groupby(batch, key=lambda row: row.length)
        return [output for _, rows in groups for output in self._generate(list(rows), plan)]

    def _sees_padding(self, plan: Plan) -> bool:
        settings = self._settings(plan)
        if settings.get("max_new_tokens") is not None:
            settings.pop("max_length", None)  # it has no effect then
        return any(settings.get(name) not in (None, off) for name, off in _SEES_PADDING.items())

    def _generate(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        # `generate` must not see another batch's settings: the mappings of a plan are shared, so it gets copies.
        try:
            output = self.pipeline.forward(self._together(batch), **dict(plan.forward))
        except (ValueError, TypeError) as exc:
            if not plan.group:
                raise
            raise InvalidParams(
                f"params: the model cannot generate with these ({type(exc).__name__}); check their types and ranges",
                field="params",
            ) from exc
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

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        return self.pipeline.postprocess(outputs[0], **plan.finish)
