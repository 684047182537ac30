"""The signatures that tasks bring themselves: those of the guide's table, and those of OpenAI's API.

Sources: the guide, "Automatic Signature inference"; the requests and responses of OpenAI's API. Names and order of the
columns are those that MLflow writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from warmlane.signature.columns import Signature, array, column, mapping, obj, signature, tensor

_STRING = column("string")
_LABELS = [column("string", "label"), column("double", "score")]
_TEXT_TO_TEXT = signature([_STRING], [_STRING])

#: Task -> the signature that a model gets when its saver gave none.
DEFAULTS: Mapping[str, Signature] = {
    **dict.fromkeys(
        [
            *("conversational", "fill-mask", "summarization", "text-generation", "text2text-generation"),
            *("token-classification", "translation"),
        ],
        _TEXT_TO_TEXT,
    ),
    "text-classification": signature([_STRING], _LABELS),
    "image-classification": signature([_STRING], _LABELS),
    "audio-classification": signature([column("binary")], _LABELS[::-1]),
    "automatic-speech-recognition": signature([column("binary")], [_STRING]),
    "question-answering": signature([column("string", "question"), column("string", "context")], [_STRING]),
    "table-question-answering": signature([column("string", "query"), column("string", "table")], [_STRING]),
    "zero-shot-classification": signature(
        [column("string", name) for name in ("sequences", "candidate_labels", "hypothesis_template")],
        [column("string", "sequence"), column("string", "labels"), column("double", "scores")],
    ),
    # MLflow names this output "double".
    "feature-extraction": signature([_STRING], [tensor("float64", [-1], "double")]),
}

_TEXT = column("string", required=False)
_FLAG = column("boolean", required=False)
_MESSAGE = obj(
    {
        "role": _STRING,
        **dict.fromkeys(("content", "name", "refusal", "tool_call_id"), _TEXT),
        "tool_calls": array(
            obj({"id": _STRING, "type": _STRING, "function": obj({"name": _STRING, "arguments": _STRING})}),
            required=False,
        ),
    }
)
_ARGUMENT = obj(
    {
        "type": _STRING,
        "description": _TEXT,
        "enum": array(_STRING, required=False),
        "items": obj({"type": _STRING}, required=False),
    }
)
_FUNCTION = {
    "name": _STRING,
    "description": _TEXT,
    "strict": _FLAG,
    "parameters": obj(
        {
            "type": _TEXT,
            "properties": mapping(_ARGUMENT),
            "required": array(_STRING, required=False),
            "additionalProperties": _FLAG,
        }
    ),
}
#: What both kinds of generation take.
_SAMPLING = [
    column("double", "temperature", required=False),
    column("long", "max_tokens", required=False),
    array(_STRING, "stop", required=False),
    column("long", "n", required=False),
    column("boolean", "stream", required=False),
]
_CHAT = [
    array(_MESSAGE, "messages"),
    *_SAMPLING,
    column("double", "top_p", required=False),
    column("long", "top_k", required=False),
    column("double", "frequency_penalty", required=False),
    column("double", "presence_penalty", required=False),
    array(obj({"type": _STRING, "function": obj(_FUNCTION, required=False)}), "tools", required=False),
    mapping(column("any"), "custom_inputs", required=False),
]
_ABOUT = [column("string", "id"), column("string", "object"), column("long", "created"), column("string", "model")]
_CHOICE = {"index": column("long"), "finish_reason": _STRING}
_TOKENS = {"prompt_tokens": column("long"), "total_tokens": column("long")}
_USAGE = {**_TOKENS, "completion_tokens": column("long")}
_EMBEDDING = {"object": _STRING, "index": column("long"), "embedding": array(column("double"))}

#: Task with OpenAI's shapes -> its signature, which no saver may change.
OPENAI: Mapping[str, Signature] = {
    "llm/v1/chat": signature(
        _CHAT,
        [
            *_ABOUT,
            array(obj({**_CHOICE, "message": _MESSAGE}), "choices"),
            obj(_USAGE, "usage", required=False),
            mapping(column("any"), "custom_outputs", required=False),
        ],
    ),
    "llm/v1/completions": signature(
        [column("string", "prompt"), *_SAMPLING],
        [*_ABOUT, array(obj({**_CHOICE, "text": _STRING}), "choices"), obj(_USAGE, "usage")],
    ),
    "llm/v1/embeddings": signature(
        [column("string", "input")],
        [column("string", "object"), array(obj(_EMBEDDING), "data"), obj(_TOKENS, "usage")],
    ),
}


def default_signature(task: str, inference_task: str | None = None) -> Signature | None:
    """The signature of a model whose saver gave none; None where the guide has none for the task.

    Args:
        task: the pipeline's task, e.g. `translation_en_to_fr`; or an `llm/v1` task.
        inference_task: the `llm/v1` task, if the model serves one.
    """
    asked = inference_task or task
    name = "translation" if asked.startswith("translation_") else asked
    return OPENAI.get(name) or DEFAULTS.get(name)
