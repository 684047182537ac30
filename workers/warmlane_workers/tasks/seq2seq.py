"""Text to text: summarization, translation, and whatever else an encoder and a decoder make of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from warmlane.errors import InvalidParams
from warmlane_workers.pipelines.classic.text2text import TranslationPipeline
from warmlane_workers.tasks import limits
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.generation import check_answer, check_values
from warmlane_workers.tasks.pipeline import GENERATION
from warmlane_workers.tasks.writing import WritingTask

#: The parameters that name languages.
_LANGUAGES = ("src_lang", "tgt_lang")


class Text2Text(WritingTask):
    """Result: a list of str, one a text. Parameters: those of a `GenerationConfig`, and of a translation
    `src_lang`, `tgt_lang`."""

    #: A step costs one token a row, whatever the text's length, so far more rows pay.
    budget_factor = 16
    allowed = GENERATION | {"truncation", "clean_up_tokenization_spaces", "src_lang", "tgt_lang", "stop_sequence"}

    def parameters(self) -> frozenset[str]:
        names = super().parameters()
        return names if isinstance(self.pipeline, TranslationPipeline) else names - {"src_lang", "tgt_lang"}

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        check_values(params, self.allowed - GENERATION)
        plan = super().plan(params)
        self._check_languages(plan.prepare)
        check_answer(plan.forward, limits.answer_positions(self.model))
        return plan

    def read(self, row: Any, plan: Plan) -> Any:
        if self._speaks:
            missing = next((name for name in _LANGUAGES if plan.prepare.get(name) is None), None)
            if missing:  # only now: a load may give one of them, and the job the other
                raise self._no_language(missing, "missing; the model translates between languages that are named")
        return super().read(row, plan)

    @property
    def _speaks(self) -> bool:
        """Whether the tokenizer has to be told the languages."""
        return isinstance(self.pipeline, TranslationPipeline) and hasattr(self.tokenizer, "_build_translation_inputs")

    def _check_languages(self, options: Mapping[str, Any]) -> None:
        known = _codes(self.tokenizer)
        for name in _LANGUAGES if self._speaks and known else ():
            if options.get(name) is not None and options[name] not in known:
                raise self._no_language(name, "no language that the tokenizer knows")

    def _no_language(self, name: str, says: str) -> InvalidParams:
        known = _codes(self.tokenizer)
        one = f"one of {', '.join(known)}" if known else "by the codes of its model card, such as eng_Latn"
        return InvalidParams(f"params.{name}: {says}; {one}", field=f"params.{name}", allowed=known)

    def so_far(self, part: Prepared, tokens: list[int], plan: Plan) -> Any:
        return {"output_ids": torch.tensor([[tokens]])}


def _codes(tokenizer: Any) -> list[str]:
    """The languages that a tokenizer knows, as it calls them; none where it does not list them."""
    tables = (getattr(tokenizer, name, None) for name in ("lang_code_to_id", "lang_code_to_token"))
    return sorted(next((table for table in tables if isinstance(table, Mapping)), ()))
