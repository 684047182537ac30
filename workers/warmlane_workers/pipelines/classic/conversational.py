"""A chat: a conversation comes in, and goes out with the assistant's answer at its end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import torch
from transformers import GenerationConfig

from warmlane_workers.pipelines.classic.generating import GeneratingPipeline

_ROLES = ("user", "assistant", "system")


class Conversation:
    """The messages of a chat, first to last: dicts of `role` (user, assistant or system) and `content`.

    Args:
        messages: the first ones; a text is one of the user. They are copied.
        conversation_id: default: a new one.

    Raises:
        ValueError: a message is not such a dict.
    """

    def __init__(
        self, messages: str | list[dict[str, str]] | None = None, conversation_id: uuid.UUID | None = None
    ) -> None:
        self.uuid = conversation_id or uuid.uuid4()
        self.messages: list[dict[str, str]] = []
        for message in [{"role": "user", "content": messages}] if isinstance(messages, str) else messages or []:
            self.add_message(message)

    def add_message(self, message: dict[str, str]) -> None:
        """Append one.

        Raises:
            ValueError: it is not a dict of a known role and a content, both texts.
        """
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise ValueError("a message is a dict of 'role' and 'content', and nothing else")
        if message["role"] not in _ROLES:
            raise ValueError(f"a message's role is one of {', '.join(_ROLES)}")
        if not isinstance(message["content"], str):
            raise ValueError("a message's content is a text")
        self.messages.append(dict(message))

    def add_user_input(self, text: str) -> None:
        """Append a message of the user."""
        self.add_message({"role": "user", "content": text})

    def append_response(self, text: str) -> None:
        """Append a message of the assistant."""
        self.add_message({"role": "assistant", "content": text})

    @property
    def generated_responses(self) -> list[str]:
        """What the assistant said."""
        return [message["content"] for message in self.messages if message["role"] == "assistant"]

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(self.messages)

    def __getitem__(self, index: int) -> dict[str, str]:
        return self.messages[index]

    def __len__(self) -> int:
        return len(self.messages)


class ConversationalPipeline(GeneratingPipeline):
    """`pipe(conversation)` -> the same `Conversation`, the answer appended to its messages.

    A list of messages or a text is taken as a new one; a list of conversations, of lists or of texts gives a list, but
    a list of one gives the one. The tokenizer's chat template makes the prompt; where it has none, each message is
    followed by the token that ends a text. At most 256 tokens are answered unless told otherwise.

    Parameters, at construction or at a call: `clean_up_tokenization_spaces` (default: the tokenizer's own),
    `batch_size` (one at a time where the tokenizer has no padding token), and those of `generate`.

    Raises:
        ValueError: an input is no conversation, or there is no message to answer; the tokenizer has neither a template
            nor a token that ends a text.
    """

    _default_generation_config = GenerationConfig(max_new_tokens=256)  # type: ignore[no-untyped-call]

    def _sanitize_parameters(
        self, clean_up_tokenization_spaces: bool | None = None, **generate_kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        spaces = clean_up_tokenization_spaces
        return {}, generate_kwargs, {} if spaces is None else {"clean_up_tokenization_spaces": spaces}

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if self.tokenizer.pad_token_id is None:
            kwargs["batch_size"] = 1
        if inputs == []:
            return []
        if not isinstance(inputs, list) or isinstance(inputs[0], dict):
            return super().__call__(_conversation(inputs), **kwargs)
        results = super().__call__([_conversation(item) for item in inputs], **kwargs)
        return results[0] if len(results) == 1 else results

    def preprocess(self, conversation: Conversation) -> dict[str, Any]:
        """`input_ids` and `attention_mask`, both (1, tokens), and the conversation."""
        if getattr(self.tokenizer, "chat_template", None):
            encoded = self.tokenizer.apply_chat_template(
                conversation.messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
        elif self.tokenizer.eos_token is None:
            raise ValueError("the tokenizer has no chat template and no eos_token; set its chat_template")
        else:
            prompt = "".join(message["content"] + self.tokenizer.eos_token for message in conversation)
            encoded = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        return {**inputs, "conversation": conversation}

    def _forward(self, model_inputs: dict[str, Any], **generate_kwargs: Any) -> dict[str, Any]:
        ids, mask = model_inputs["input_ids"], model_inputs["attention_mask"]  # (batch, tokens)
        answer_from = 1  # of an encoder-decoder's output, after the token that starts it
        if not self.model.config.is_encoder_decoder:
            ids, mask = _padded_left(ids, mask)
            answer_from = ids.shape[1]
        output = self.model.generate(input_ids=ids, attention_mask=mask, **self._settings(generate_kwargs))
        output = getattr(output, "sequences", output)
        first = output.reshape(len(ids), -1, output.shape[-1])[:, 0]  # (batch, tokens), of those returned the best
        return {"output_ids": first[:, answer_from:], "conversation": model_inputs["conversation"]}

    def postprocess(
        self, model_outputs: dict[str, Any], clean_up_tokenization_spaces: bool | None = None
    ) -> Conversation:
        text = self.tokenizer.decode(
            model_outputs["output_ids"][0],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
        )
        conversation: Conversation = model_outputs["conversation"]
        conversation.append_response(text)
        return conversation


def _conversation(value: Any) -> Conversation:
    if not isinstance(value, Conversation | str | list):
        raise ValueError(f"a conversation is a list of messages, not a {type(value).__name__}")
    found = value if isinstance(value, Conversation) else Conversation(value)
    if not len(found):
        raise ValueError("a conversation needs a message to answer")
    return found


def _padded_left(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's padding moved before its tokens, so that the answer goes on where they end; both are (batch, tokens).

    The tokenizer's own side is left as it is: others share it.
    """
    behind = mask.flip(1).argmax(1)  # (batch,), how many zeros each row's mask ends with

    def moved(rows: torch.Tensor) -> torch.Tensor:
        return torch.stack([row.roll(int(by)) for row, by in zip(rows, behind, strict=True)])

    return moved(ids), moved(mask)
