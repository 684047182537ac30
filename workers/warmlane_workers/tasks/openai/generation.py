"""Completions and chat: one request a row, each with settings of its own; rows of equal settings share batches."""

from __future__ import annotations

import time
import uuid
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jinja2
from transformers import StoppingCriteriaList
from transformers.utils.chat_template_utils import Chat as Messages

from warmlane.errors import InvalidParams, SchemaError, UnsupportedTask
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.continuous import Request
from warmlane_workers.tasks.openai import requests
from warmlane_workers.tasks.openai.stopping import StopTexts, cut
from warmlane_workers.tasks.params import Kind, number
from warmlane_workers.tasks.pipeline import GENERATION
from warmlane_workers.tasks.text_generation import TextGeneration

#: Who speaks in a chat, in OpenAI's API; which of them a model knows, its template says.
ROLES = ("developer", "system", "user", "assistant", "tool", "function")


@dataclass(frozen=True, slots=True)
class _Part(Prepared):
    """One answer that is to be generated, with the plan of its own request."""

    plan: Plan
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sample:
    """One answer's tokens, as many as the batch ran for.

    Attributes:
        most: how many tokens it could have.
        ends: the tokens that end a text.
    """

    tokens: list[int]
    prompt_tokens: int
    most: int
    stops: tuple[str, ...]
    ends: frozenset[int]


class _Generation(TextGeneration):
    """A job's parameters stand for what a request leaves out. Result: a list of answers, one dict a request.

    Args:
        model: the name that answers give as their model's.
    """

    allowed = (GENERATION - {"num_return_sequences"}) | requests.NAMES | {"truncation"}
    limit_name = "max_tokens"
    mixes = False  # requests of a batch are sorted by their settings first
    #: The key of what is to be answered, and the `object` of an answer.
    content: ClassVar[str]
    kind: ClassVar[str]

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None, model: str) -> None:
        super().__init__(components, record)
        self._name = model

    def kind_of(self, name: str) -> Kind | None:
        return number(0) if name == "temperature" else super().kind_of(name)  # with 0 the likeliest token is taken

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        try:
            super().plan(requests.defaults(params).settings)
        except SchemaError as exc:
            name = str(exc.details["field"]).replace("inputs.", "params.")
            raise InvalidParams(exc.message.replace("inputs.", "params."), field=name) from None
        return Plan(prepare={"params": dict(params)})

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        request = requests.read(row, self.content, plan.prepare["params"])
        own = self._own(super().plan(request.settings))
        (part,) = super().prepare(request.content, own)
        if self._is_open(own):  # what is left of the positions is part of what its batch shares
            most = {"max_new_tokens": self._new_tokens(own, part.length)}
            own = self._own(super().plan({**request.settings, **most}))
        return [_Part(part.inputs, part.length, own, request.stops, truncated=part.truncated)] * request.n

    def _own(self, plan: Plan) -> Plan:
        """A request's plan."""
        return plan

    def _is_open(self, plan: Plan) -> bool:
        """Whether neither the request nor the model says how long an answer may be."""
        settings = self._settings(plan)
        return settings.get("max_new_tokens") is None and settings.get("max_length") is None

    def _new_tokens(self, plan: Plan, length: int) -> int:
        new = super()._new_tokens(plan, length)
        if self.max_length is None or not self._positions_end or not self._is_open(plan):
            return new
        return max(1, min(new, self.max_length - length + 1))  # the last token is not read again

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        groups: dict[tuple[bytes, tuple[str, ...]], list[int]] = {}
        parts = [part for part in batch if isinstance(part, _Part)]
        for place, part in enumerate(parts):
            groups.setdefault((part.plan.group, part.stops), []).append(place)
        samples: list[Any] = [None] * len(parts)
        for (_, stops), places in groups.items():
            together = [parts[place] for place in places]
            own = replace(together[0].plan, finish={"stops": stops})
            for part, place, output in zip(together, places, super().forward(together, own), strict=True):
                samples[place] = self._sample(part, output)
        return samples

    def _generate(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        if plan.finish["stops"]:
            longest = max(part.length for part in batch)
            stop = StopTexts(self.tokenizer, plan.finish["stops"], longest)
            plan = replace(plan, forward={**plan.forward, "stopping_criteria": StoppingCriteriaList([stop])})
        return super()._generate(batch, plan)

    def _sample(self, part: _Part, output: Mapping[str, Any]) -> _Sample:
        sequence = output["generated_sequence"][0, 0]  # (padded prompt + new)
        ends = self._settings(part.plan).get("eos_token_id")
        return _Sample(
            tokens=sequence[output["input_ids"].shape[-1] :].tolist(),
            prompt_tokens=part.length,
            most=self._new_tokens(part.plan, part.length),
            stops=part.stops,
            ends=frozenset([] if ends is None else [ends] if isinstance(ends, int) else ends),
        )

    def request(self, part: Prepared, plan: Plan) -> Request | None:
        assert isinstance(part, _Part)
        found = super().request(part, part.plan)
        if found is None or not part.stops:
            return found
        return replace(found, criteria=(StopTexts(self.tokenizer, part.stops, part.length),))

    def so_far(self, part: Prepared, tokens: list[int], plan: Plan) -> Any:
        assert isinstance(part, _Part)
        return self._sample(part, super().so_far(part, tokens, plan))

    def words(self, answer: Any, output: str | None) -> str:
        (choice,) = answer["choices"]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])

    def stops(self, part: Prepared) -> tuple[str, ...]:
        assert isinstance(part, _Part)
        return part.stops

    def check_stream(self, parts: Sequence[Prepared], plan: Plan) -> None:
        super().check_stream(parts, next(part.plan for part in parts if isinstance(part, _Part)))

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        read = [self._read(sample) for sample in outputs]
        prompt, new = outputs[0].prompt_tokens, sum(count for _, count, _ in read)
        return {
            "id": str(uuid.uuid4()),
            "object": self.kind,
            "created": int(time.time()),
            "model": self._name,
            "choices": [
                {"index": index, "finish_reason": reason, **self.choice(text)}
                for index, (text, _, reason) in enumerate(read)
            ],
            "usage": {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new},
        }

    def _read(self, sample: _Sample) -> tuple[str, int, str]:
        """An answer's text, its tokens (the one that ends it among them; what fills its batch is none), and why it
        ended."""
        tokens = sample.tokens[: sample.most]
        end = next((place for place, token in enumerate(tokens) if token in sample.ends), None)
        tokens = tokens if end is None else tokens[: end + 1]
        text, count, stopped = cut(self.tokenizer, tokens, sample.stops)
        whole = end is not None or stopped or len(tokens) < sample.most
        return text.lstrip(), count, "stop" if whole else "length"

    def cut(self, answer: Any) -> Any:
        return {**answer, "truncated": True}

    @abstractmethod
    def choice(self, text: str) -> dict[str, Any]:
        """An answer as a choice has it."""

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        return answers[0] if single and output == "native" else answers


class Completions(_Generation):
    """A row is `{"prompt": str, …}`."""

    content = "prompt"
    kind = "text_completion"

    def choice(self, text: str) -> dict[str, Any]:
        return {"text": text}


class Chat(_Generation):
    """A row is `{"messages": [{"role", "content"}, …], …}`; the tokenizer's chat template makes the prompt.

    Raises:
        UnsupportedTask: the tokenizer has no chat template.
    """

    content = "messages"
    kind = "chat.completion"

    def plan(self, params: Mapping[str, Any]) -> Plan:
        if not getattr(self.tokenizer, "chat_template", None):
            raise UnsupportedTask(
                "the model's tokenizer has no chat template; save the model with one, or as llm/v1/completions",
                task="llm/v1/chat",
            )
        return super().plan(params)

    def _own(self, plan: Plan) -> Plan:
        # An assistant's message at the end is not gone on with: the answer is a message of its own.
        return replace(plan, prepare={**plan.prepare, "continue_final_message": False})

    def read(self, row: Any, plan: Plan) -> Any:
        if not isinstance(row, list) or not row or not all(map(_is_message, row)):
            raise SchemaError(
                f"inputs.messages: a list of dicts of 'role' ({', '.join(ROLES)}) and 'content', a str",
                field="inputs.messages",
            )
        messages: Any = [{name: value for name, value in message.items() if value is not None} for message in row]
        return Messages(messages)

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        try:
            return super().prepare(row, plan)
        except jinja2.TemplateError as exc:
            raise SchemaError(
                "inputs.messages: the model's chat template refuses them; are their roles and their order right?",
                field="inputs.messages",
            ) from exc

    def choice(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.get("role") in ROLES and isinstance(value.get("content"), str)
