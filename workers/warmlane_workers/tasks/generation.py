"""What the tasks that generate share: checks of their settings, and of the room that an answer has."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from warmlane.errors import InputTooLong, InvalidParams
from warmlane_workers.tasks import limits, padding
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.text import TRUNCATIONS
from warmlane_workers.tasks.writing import WritingTask

#: Most tokens that an answer may have where the model sets no end, and most beams: a job has its device to itself for
#: as long as it generates, and beams multiply what a row takes of its memory.
MOST_TOKENS = 65_536
MOST_BEAMS = 32
#: Settings that are whole numbers with the least and the most they may be, and those that are numbers above 0.
_WHOLE: Mapping[str, tuple[int, int | None]] = {
    "max_new_tokens": (1, MOST_TOKENS),
    "max_length": (1, MOST_TOKENS),
    "min_new_tokens": (0, MOST_TOKENS),
    "min_length": (0, MOST_TOKENS),
    "num_beams": (1, MOST_BEAMS),
    "top_k": (0, None),
}
_POSITIVE = ("temperature", "repetition_penalty", "top_p", "typical_p")

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
    if params.get("truncation") not in TRUNCATIONS:
        raise InvalidParams("params.truncation: true or false, or a tokenizer's strategy", field="params.truncation")
    for name, (least, most) in _WHOLE.items():
        value = params.get(name)
        if value is not None and (type(value) is not int or value < least or (most is not None and value > most)):
            bounds = f"from {least}" if most is None else f"from {least} to {most}"
            raise InvalidParams(f"params.{name}: a whole number {bounds}", field=f"params.{name}")
    for name in _POSITIVE:
        value = params.get(name)
        if value is not None and (type(value) not in (int, float) or not value > 0):
            raise InvalidParams(f"params.{name}: a number above 0", field=f"params.{name}")
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


@contextlib.contextmanager
def generating(plan: Plan) -> Iterator[None]:
    """Around `generate`, which refuses some settings only when it sees them beside the model's own.

    Raises:
        InvalidParams: it does.
    """
    try:
        yield
    except (ValueError, TypeError) as exc:
        if not plan.group:
            raise
        raise InvalidParams(
            f"params: the model cannot generate with these ({type(exc).__name__}); check their types and ranges",
            field="params",
        ) from exc


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
        #: What the model and the saved pipeline say; told once, for it takes half a millisecond.
        self._saved = self.pipeline._get_set_generation_params(dict(self.pipeline._forward_params))

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

    def _sees_padding(self, plan: Plan) -> bool:
        settings = self._settings(plan)
        if settings.get("max_new_tokens") is not None:
            settings.pop("max_length", None)  # it has no effect then
        return any(settings.get(name) not in (None, off) for name, off in _SEES_PADDING.items())
