"""Tasks that write a text token by token: a job can stop them between two tokens, and read what is there so far."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from warmlane.errors import InvalidParams
from warmlane_workers.pipelines.classic.generating import GeneratingPipeline
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.text import TextTask
from warmlane_workers.tasks.watching import watched

#: A word that is longer may be told but for its last characters: some languages have no spaces.
_WORD = 8


def settled(text: str, stops: Sequence[str] = ()) -> str:
    """What will not change of a text that goes on.

    Left out are the last word, with the space before it (what follows may join it to the word before); the signs of a
    character that is not whole; and what may be the beginning of a text that ends the answer.
    """
    end = len(text.rstrip("\ufffd"))
    for stop in stops:
        begun = next((size for size in range(len(stop) - 1, 0, -1) if text.endswith(stop[:size])), 0)
        end = min(end, len(text) - begun)
    word = next((place for place in range(end, 0, -1) if text[place - 1].isspace()), 0)
    if end - word > _WORD:
        return text[: end - _WORD]
    return text[:word].rstrip()


class WritingTask(TextTask):
    """A task whose answer is one text a row."""

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        #: What the model and the saved pipeline say; told once, for it takes half a millisecond.
        self._saved = self.pipeline._get_set_generation_params(dict(self.pipeline._forward_params))

    def plan(self, params: Mapping[str, Any]) -> Plan:
        plan = super().plan(params)
        if not (params.get("stop_strings") or self._saved.get("stop_strings")):
            return plan
        return replace(plan, forward={**plan.forward, "tokenizer": self.tokenizer})  # `generate` looks for them by it

    def call_settings(self, batch: Sequence[Prepared], plan: Plan) -> dict[str, Any]:
        # An encoder-decoder's sequences hold the answer alone.
        first = 0 if self.model.config.is_encoder_decoder else max(part.length for part in batch)
        return watched(plan.forward, batch, first)

    def generate_settings(self, plan: Plan) -> dict[str, Any]:
        """What `generate` goes by: the plan's settings over the pipeline's and the model's."""
        pipeline = self.pipeline
        settle = pipeline._settings if isinstance(pipeline, GeneratingPipeline) else pipeline._prepare_generate_kwargs
        settings: dict[str, Any] = pipeline._get_set_generation_params(settle(dict(plan.forward)))
        return settings

    @abstractmethod
    def so_far(self, part: Prepared, tokens: list[int], plan: Plan) -> Any:
        """The output of `forward`, of an answer of which these tokens are there; `finish` reads it.

        Args:
            tokens: as the model gave them; of an encoder-decoder the one that starts its answer, too.
        """

    def words(self, answer: Any, output: str | None) -> str:
        """The text of a row's answer, as the result has it.

        Args:
            answer: what `finish` gave.
            output: one of `warmlane.jobs.OUTPUTS`; None is the task's own choice.
        """
        found = self.assemble([answer], True, output)
        while isinstance(found, list):
            found = found[-1]
        if isinstance(found, str):
            return found
        # {"generated_text": …}, {"summary_text": …}, … or a message
        return str(next(value for name, value in found.items() if name.endswith("_text") or name == "content"))

    def stops(self, part: Prepared) -> tuple[str, ...]:
        """Texts that end the answer and are no part of it."""
        return ()

    def check_stream(self, parts: Sequence[Prepared], plan: Plan) -> None:
        """Whether an answer is known before its last token.

        Raises:
            InvalidParams: several answers are written at a time, and only the end says which is given.
        """
        beams = self.generate_settings(plan).get("num_beams")
        if beams not in (None, 1):
            raise InvalidParams(
                f"stream: with {beams} beams the answer is known at the end only; set params.num_beams to 1, or leave "
                "`stream` out",
                field="params.num_beams",
            )
        if len(parts) != 1:
            raise InvalidParams("stream: one answer has one text; leave `n` out, or `stream`", field="params.n")
