"""Tasks whose rows are texts: padded to share batches, cut or refused where they are too long."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from warmlane.errors import InputTooLong, InvalidParams, SchemaError
from warmlane_workers.tasks import limits, padding
from warmlane_workers.tasks.alike import runs_alike
from warmlane_workers.tasks.base import Plan, Prepared, tried
from warmlane_workers.tasks.pipeline import PipelineTask, readable
from warmlane_workers.tasks.reader import TextReader

logger = logging.getLogger(__name__)

#: Of a text with more characters than this for each token of the model's limit, the beginning is looked at first.
_FAR = 32
#: A text of middle length.
SPECIMEN = "the old houses beside the river are red in the evening sun " * 2


def cuts(options: Mapping[str, Any]) -> bool:
    """Whether a tokenizer with these options cuts: a `max_length` alone says so, too."""
    truncation = options.get("truncation")
    if truncation is None:
        return options.get("max_length") is not None
    return truncation not in (False, "do_not_truncate")


class TextTask(PipelineTask):
    """Result: what the guide's table says of the task. A row is a str."""

    mixes = True
    #: Whether all that the pipeline does with a text at first is to call its tokenizer.
    only_tokenizes = False

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        if self.tokenizer.pad_token_id is None and self.tokenizer.eos_token_id is not None:
            self.tokenizer.pad_token = self.tokenizer.eos_token  # only to fill; the attention mask hides it
        #: Most tokens that the model reads; None where it does not say.
        self.max_length = limits.positions(self.model)
        limits.align(self.tokenizer, self.max_length)
        #: Where a text is cut by default, as the pipelines do it.
        self.cut_at = limits.known_length(self.tokenizer)
        self._pad = padding.collator(self.tokenizer, self.padding_side())
        self._shows = padding.shows(self.model)
        self._reader = TextReader(self.tokenizer, self._lock)

    def padding_side(self) -> str:
        """Where texts are padded, "left" or "right", whatever their tokenizer says."""
        return padding.side(self.model, self.tokenizer)

    def plan(self, params: Mapping[str, Any]) -> Plan:
        plan = super().plan(params)
        return replace(plan, cut_at=self.cutting(plan.prepare))

    def cutting(self, options: Mapping[str, Any]) -> int | None:
        """The tokens at which a tokenizer with these options cuts; None where it does not."""
        return (options.get("max_length") or self.cut_at) if cuts(options) else None

    def read(self, row: Any, plan: Plan) -> Any:
        if not isinstance(row, str):
            raise SchemaError("a row is a str", field="inputs")
        return row

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        self._check_beginning(row, plan)
        return super().prepare(row, plan)

    def prepare_all(self, rows: Sequence[Any], plan: Plan) -> list[list[Prepared] | Exception]:
        if not (self.only_tokenizes and self._reader.reads(rows, plan.prepare)):
            return super().prepare_all(rows, plan)
        try:
            items = self._reader.read(rows, plan.prepare)
        except Exception as exc:  # noqa: BLE001 - of one of these texts, or of another job's: each by itself will say
            logger.info("texts are read one by one: %s", type(exc).__name__, extra={"action": "one_by_one"})
            return super().prepare_all(rows, plan)
        return [tried(self.parts, row, [item], plan) for row, item in zip(rows, items, strict=True)]

    def parts(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> list[Prepared]:
        parts = super().parts(row, items, plan)
        if any(part.length == 0 for part in parts):
            raise SchemaError("a row of no tokens; this tokenizer adds none to an empty text", field="inputs")
        return parts

    def _check_beginning(self, row: Any, plan: Plan) -> None:
        """Refuse a text that is far too long before all of it is made tokens, which takes seconds for megabytes."""
        far = _FAR * (self.max_length or 0)
        if plan.cut_at is not None or not far or not isinstance(row, str) or len(row) <= far:
            return
        with self._lock, readable():
            beginning = self.tokenizer(row[:far].rpartition(" ")[0], add_special_tokens=False, verbose=False)
        try:
            self.check_length(len(beginning["input_ids"]), plan)
        except InputTooLong as exc:
            raise InputTooLong(exc.message.replace(" has ", " has more than ", 1), **exc.details) from None

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        if self._pad is None:
            yield from super().groups(batch)
        elif self._shows or not padding.hidden(batch):
            yield from runs_alike(batch)
        else:
            yield batch

    def together(self, batch: Sequence[Prepared], plan: Plan) -> Iterator[Sequence[Prepared]]:
        return self.groups(batch)

    def collate(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        assert self._pad is not None
        padded: dict[str, Any] = self._pad([part.inputs for part in batch])
        return padded

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        if plan.cut_at is None or all(self.length(item) < plan.cut_at for item in items):
            return False
        whole = self.items(row, self.whole(plan))
        return sum(map(self.length, whole)) > sum(map(self.length, items))

    def whole(self, plan: Plan) -> Plan:
        """A plan that reads whole rows, to compare one with what was left of it."""
        return replace(plan, prepare={**plan.prepare, "truncation": False})

    def truncating(self, plan: Plan, params: Mapping[str, Any]) -> Plan:
        """A plan whose truncation knows the model's limit, and whose `max_length` reaches the tokenizer."""
        limit = params.get("max_length", self.cut_at)
        least = self.tokenizer.num_special_tokens_to_add(pair=True) + 2
        if limit is not None and (type(limit) is not int or limit < least):
            raise InvalidParams(f"params.max_length: a whole number from {least}", field="params.max_length")
        if not cuts(params) or limit is None:
            return plan
        limit = limit if self.max_length is None else min(limit, self.max_length)  # the model reads no more
        prepare = {**plan.prepare, "truncation": params.get("truncation") or True, "max_length": limit}
        return replace(plan, prepare=prepare, cut_at=limit)

    def check_length(self, length: int, plan: Plan) -> None:
        cut = ", or cut it off with params={'truncation': True}" if "truncation" in self.parameters() else ""
        limits.check(length, self.max_length, f"shorten it{cut}")
