"""What the tasks that generate share: checks of their settings, and of the room that an answer has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from warmlane.errors import InputTooLong, InvalidParams
from warmlane_workers.tasks import continuous, limits, padding
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.writing import WritingTask

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


#: So many sets of parameters are known by the way in which they generate.
_MOST_MANNERS = 256


def check_values(params: Mapping[str, Any], own: frozenset[str]) -> None:
    """Refuse here what would else end in an error of the device thread.

    Args:
        own: parameters of the pipeline that no generation configuration has.

    Raises:
        InvalidParams: names the parameter.
    """
    if params.get("num_return_sequences", 1) not in (1, None):
        raise InvalidParams(
            "params.num_return_sequences: a row has one output; send the prompt once for each sample you want",
            field="params.num_return_sequences",
        )
    try:
        GenerationConfig(**{name: value for name, value in params.items() if name not in own})  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as exc:
        raise InvalidParams(f"params: transformers refuses these settings ({str(exc)[:200]})", field="params") from exc


def check_answer(settings: Mapping[str, Any], limit: int | None) -> None:
    """Refuse more tokens of an answer than an encoder-decoder can write.

    Args:
        limit: as `limits.answer_positions` has it.

    Raises:
        InvalidParams: names the parameter.
    """
    for name in ("max_new_tokens", "max_length"):
        if limit is not None and (settings.get(name) or 0) > limit:
            raise InvalidParams(f"params.{name}: the model writes {limit} tokens at most", field=f"params.{name}")


class GeneratingTask(WritingTask):
    """A task whose answer is generated, token by token."""

    #: A step costs one token a row, whatever the prompt's length, so far more rows pay.
    budget_factor = 16
    #: What a caller calls the most tokens of an answer.
    limit_name = "max_new_tokens"

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        tables = (module for name, module in self.model.named_modules() if name.endswith(limits.POSITION_TABLES))
        #: Whether a text longer than `max_length` has no positions, and would end in an index error.
        self._positions_end = any(isinstance(module, torch.nn.Embedding) for module in tables)
        #: As `limits.stretches` has it.
        self.stretches = limits.stretches(self.model)
        #: A plan's group -> how its rows are generated; found once, for it takes as long.
        self._manners: dict[bytes, continuous.Manner | None] = {}

    def padding_side(self) -> str:
        """Of a decoder the tokenizer's: `generate` counts its positions by the mask."""
        return super().padding_side() if self.model.config.is_encoder_decoder else str(self.tokenizer.padding_side)

    def _settings(self, plan: Plan) -> dict[str, Any]:
        """What `generate` will go by: the job's settings over the model's."""
        return {**self._saved, **plan.forward}

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
        if self.model.config.is_encoder_decoder:  # its answer has positions of its own
            return
        new = self._new_tokens(plan, length)
        if new < 1:
            most = self._settings(plan)["max_length"]
            raise InputTooLong(
                f"a prompt of {length} tokens leaves no room for an answer: max_length is {most} and counts both; "
                "raise it, set max_new_tokens, or shorten the prompt",
                tokens=length,
                limit=most,
            )
        # The last token is given out and not read again.
        if self._positions_end and self.max_length is not None and length + new - 1 > self.max_length:
            raise InputTooLong(
                f"a row of {length} tokens may grow by {new}, the model has {self.max_length} positions; "
                f"lower {self.limit_name}, or shorten the prompt",
                tokens=length + new,
                limit=self.max_length,
            )

    def together(self, batch: Sequence[Prepared], plan: Plan) -> Iterator[Sequence[Prepared]]:
        return self.runs(batch, plan)

    def runs(self, batch: Sequence[Prepared], plan: Plan) -> Iterator[Sequence[Prepared]]:
        """The rows that may run together: where a setting counts tokens, those of one length, which need no padding.

        A batch comes in ascending order of length.
        """
        if padding.hidden(batch) and not self._sees_padding(plan):
            yield batch
        else:
            for _, rows in itertools.groupby(batch, key=lambda row: row.length):
                yield list(rows)

    def request(self, part: Prepared, plan: Plan) -> continuous.Request | None:
        """A row as a request to a running batch, see `tasks.continuous`; None where only `generate` can answer it."""
        ids = part.inputs["input_ids"]  # (1, prompt)
        mask = part.inputs.get("attention_mask")
        manner = self._manner(plan)
        most = self._new_tokens(plan, part.length)
        if manner is None or most < 1 or ids.shape != (1, part.length) or not (mask is None or bool(mask.all())):
            return None
        return continuous.Request(ids[0].tolist(), most, manner)

    def _manner(self, plan: Plan) -> continuous.Manner | None:
        if self.model.config.is_encoder_decoder:
            return None
        known = self._manners
        if plan.group in known:
            return known[plan.group]
        found = continuous.manner(self.generate_settings(plan), self._vocabulary)
        self._manners = {**known, plan.group: found} if len(known) < _MOST_MANNERS else {plan.group: found}
        return found

    def _sees_padding(self, plan: Plan) -> bool:
        if self.stretches:
            return True
        settings = self._settings(plan)
        if settings.get("max_new_tokens") is not None:
            settings.pop("max_length", None)  # it has no effect then
        return any(settings.get(name) not in (None, off) for name, off in _SEES_PADDING.items())
