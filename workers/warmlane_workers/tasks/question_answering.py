"""Question answering: a question and a context to the part of the context that answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warmlane.errors import InputTooLong, InvalidParams, SchemaError
from warmlane_workers.pipelines.classic.question_answering import MAX_SEQ_LEN, NoRoom
from warmlane_workers.tasks import limits
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.params import Kind, whole
from warmlane_workers.tasks.text import TextTask


class QuestionAnswering(TextTask):
    """Result: a list of str, one answer a row; `output="native"` gives scores and places too.

    A row is a dict of str with `question` and `context`. A long context is read in chunks that overlap; of a question
    the first `max_question_len` tokens are.
    """

    allowed = frozenset(
        {
            *("top_k", "doc_stride", "max_answer_len", "max_seq_len", "max_question_len"),
            *("handle_impossible_answer", "align_to_words"),
        }
    )

    def kind_of(self, name: str) -> Kind | None:
        return whole(1) if name == "doc_stride" else super().kind_of(name)

    def check_params(self, params: Mapping[str, Any]) -> None:
        super().check_params(params)
        longest = params.get("max_seq_len") or min(self.tokenizer.model_max_length, MAX_SEQ_LEN)
        if (params.get("doc_stride") or 0) > longest:
            raise InvalidParams(
                f"params.doc_stride: {whole(1, longest).text}, the tokens that are read at once (max_seq_len)",
                field="params.doc_stride",
            )

    def read(self, row: Any, plan: Plan) -> Any:
        if not isinstance(row, dict) or set(row) != {"question", "context"}:
            raise SchemaError("a row is a dict with the keys 'question' and 'context'", field="inputs")
        for name, value in row.items():
            if not isinstance(value, str) or not value.strip():
                raise SchemaError(f"{name}: a str that is not empty", field=f"inputs.{name}")
        return row

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        try:
            return super().items(row, plan)
        except NoRoom as exc:
            raise InputTooLong(
                "the question leaves no room for the context; shorten it, or lower max_question_len",
                field="inputs.question",
            ) from exc

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        return any(item["question_cut"] for item in items)

    def check_length(self, length: int, plan: Plan) -> None:
        limits.check(length, self.max_length, "leave max_seq_len out, or lower it")
