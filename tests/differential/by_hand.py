"""What a model answers to one row, without any pipeline: `generate` on a batch of one, logits turned into a span.

The reference for the tasks that transformers 5 has no pipelines for: what warmlane brings for them is not asked.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.differential.rows import Asked, Params

#: Tokens of an answer, the one that starts the decoder included, where neither the caller nor the checkpoint says.
_MAX_LENGTH = 20


def text_to_text(pipe: Any, asked: Asked, params: Params) -> Any:
    """The text that the model makes of the row's, behind the prefix of the checkpoint for this task."""
    model, tokenizer = pipe.model, pipe.tokenizer
    settings = dict((getattr(model.config, "task_specific_params", None) or {}).get(pipe.task, {}))
    prefix = settings.pop("prefix", "")
    if model.generation_config.max_length is None:
        settings = {"max_length": _MAX_LENGTH, **settings}
    params = dict(params)
    source, target = params.pop("src_lang", None), params.pop("tgt_lang", None)
    if source:
        tokenizer.src_lang = source
        settings["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(target)
    if "max_new_tokens" in params:
        settings["max_length"] = None
    ids = tokenizer(prefix + asked.args[0], return_tensors="pt")["input_ids"]  # (1, tokens)
    output = _generated(model, ids, {**settings, **params})
    key = {"summarization": "summary", "text2text-generation": "generated"}.get(pipe.task, "translation")
    return [{f"{key}_text": tokenizer.decode(output, skip_special_tokens=True, clean_up_tokenization_spaces=False)}]


def chat(pipe: Any, asked: Asked, params: Params) -> Any:
    """All messages, with the answer: each message is followed by the token that ends a text."""
    said = asked.args[0]
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
    prompt = "".join(message["content"] + pipe.tokenizer.eos_token for message in messages)
    ids = pipe.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    output = _generated(pipe.model, ids, params)[ids.shape[1] :]
    answer = pipe.tokenizer.decode(output, skip_special_tokens=True)
    return [*messages, {"role": "assistant", "content": answer}]


def _generated(model: Any, ids: torch.Tensor, settings: Params) -> torch.Tensor:
    with torch.inference_mode():
        output: torch.Tensor = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)[0]
    return output


def span(pipe: Any, asked: Asked, params: Params) -> Any:
    """The likeliest span of the context, whose windows overlap by a stride.

    A span's probability is that of its first token among the starts times that of its last among the ends, each a
    softmax over the window's context and [CLS].
    """
    tokenizer, question, context = pipe.tokenizer, asked.kwargs["question"], asked.kwargs["context"]
    asking = tokenizer(question, add_special_tokens=False)["input_ids"]
    read = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    room = tokenizer.model_max_length - len(asking) - tokenizer.num_special_tokens_to_add(pair=True)
    stride = params.get("doc_stride", tokenizer.model_max_length // 2)
    step = room - (stride if stride < room else room // 2)
    best: tuple[float, int, int, int] = (0.0, 0, 0, 0)
    for begin in range(0, len(read["input_ids"]), step):
        window = read["input_ids"][begin : begin + room]
        score, first, last = _best_span(pipe, asking, window, params.get("max_answer_len", 15))
        if score > best[0]:
            best = score, begin + first, begin + last, begin
        if begin + room >= len(read["input_ids"]):
            break
    score, first, last, begin = best
    start, end = read["offset_mapping"][first][0], read["offset_mapping"][last][1]
    if params.get("align_to_words", True):
        # Whole words as far as the window shows them: at its edge a word may be cut, as in the classic pipeline.
        words = read.encodings[0].word_ids
        shown = range(begin, min(begin + room, len(words)))
        start = min(read["offset_mapping"][at][0] for at in shown if words[at] == words[first])
        end = max(read["offset_mapping"][at][1] for at in shown if words[at] == words[last])
    return {"score": score, "start": start, "end": end, "answer": context[start:end]}


def _best_span(pipe: Any, asking: list[int], window: list[int], longest: int) -> tuple[float, int, int]:
    """Its probability, and its first and last token in the window."""
    cls, sep = pipe.tokenizer.cls_token_id, pipe.tokenizer.sep_token_id
    ids = [cls, *asking, sep, *window, sep]
    inputs: dict[str, Any] = {"input_ids": torch.tensor([ids])}
    if getattr(pipe.model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.tensor([[0] * (len(asking) + 2) + [1] * (len(window) + 1)])
    with torch.inference_mode():
        output = pipe.model(**inputs)
    from_here = len(asking) + 2
    counted = [0, *range(from_here, from_here + len(window))]
    start, end = (
        torch.softmax(logits[0, counted], 0)[1:].tolist() for logits in (output.start_logits, output.end_logits)
    )
    spans = [
        (start[first] * end[last], first, last)
        for first in range(len(window))
        for last in range(first, min(first + longest, len(window)))
    ]
    return max(spans, key=lambda found: found[0])
