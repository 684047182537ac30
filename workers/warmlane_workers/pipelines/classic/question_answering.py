"""The answer to a question as a part of a context. A context that is too long is read in chunks that overlap."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers.pipelines.base import ChunkPipeline

from warmlane_workers.pipelines import segments
from warmlane_workers.pipelines.classic import questions, spans

#: Untyped: its methods are declared as if every pipeline took the same inputs and parameters.
_ChunkPipeline: Any = ChunkPipeline
#: Most tokens that are read at once, unless told otherwise.
MAX_SEQ_LEN = 384
#: Tokens that two chunks share, unless told otherwise.
DOC_STRIDE = 128


class NoRoom(ValueError):
    """The question alone fills what the model reads at once."""


class QuestionAnsweringPipeline(_ChunkPipeline):  # type: ignore[misc]
    """`pipe(question=…, context=…)` -> `{"score", "start", "end", "answer"}`; `start` and `end` count the characters of
    the context. A dict of both, a list of dicts, or lists of questions and contexts will do; several give a list.

    Parameters, at construction or at a call:
        top_k: how many answers; with more than one found, each question gets a list, best first. Default 1.
        max_answer_len: most tokens of an answer. Default 15.
        max_seq_len: most tokens of question and context together. Default: the tokenizer's, at most 384.
        doc_stride: tokens that two chunks of a long context share. Default: half of `max_seq_len`, at most 128; less
            where the question leaves no room for it.
        max_question_len: tokens after which a question is cut. Default 64.
        handle_impossible_answer: whether the empty answer is one. Default False.
        align_to_words: whether answers are made of whole words. Default True.
        padding: as a tokenizer takes it. Default: none.
        batch_size: how many chunks the model reads at once. Default 1.

    Raises:
        ValueError: an input or a parameter is none of these; the question leaves no room for the context; the tokenizer
            is a slow one.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.tokenizer.is_fast:
            raise ValueError("question-answering needs a fast tokenizer, which knows where a token lies in the text")
        taken = set(inspect.signature(self.model.forward).parameters)
        self._inputs = [name for name in self.tokenizer.model_input_names if name in taken]
        if segments.NAME in taken and segments.reads(self.model.config) and segments.NAME not in self._inputs:
            self._inputs.append(segments.NAME)

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        max_answer_len: int | None = None,
        max_seq_len: int | None = None,
        doc_stride: int | None = None,
        max_question_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        align_to_words: bool | None = None,
        padding: Any = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        before = {"max_seq_len": max_seq_len, "doc_stride": doc_stride, "max_question_len": max_question_len}
        after = {"top_k": top_k, "max_answer_len": max_answer_len}
        for name, value in {**before, **after}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")
        before["padding"] = padding
        after |= {"handle_impossible_answer": handle_impossible_answer, "align_to_words": align_to_words}
        return _given(before), {}, _given(after)

    def __call__(self, *args: Any, question: Any = None, context: Any = None, **kwargs: Any) -> Any:
        asked = questions.pairs(args, question, context)
        if isinstance(asked, list) and len(asked) < 2:
            return super().__call__(asked[0], **kwargs) if asked else []
        return super().__call__(asked, **kwargs)

    def preprocess(
        self,
        pair: Any,
        padding: Any = "do_not_pad",
        doc_stride: int | None = None,
        max_question_len: int = 64,
        max_seq_len: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The chunks: the model's inputs, (1, tokens); `p_mask`, (1, tokens), 1 where no answer can be; the rest as it
        came."""
        pair = questions.checked(pair)
        longest = max_seq_len or min(self.tokenizer.model_max_length, MAX_SEQ_LEN)
        stride = doc_stride or min(longest // 2, DOC_STRIDE)
        if stride > longest:
            raise ValueError(f"doc_stride ({stride}) is larger than max_seq_len ({longest})")
        question, room, cut = self._question(pair["question"], max_question_len, longest)
        # XLNet's kind reads the context first, and is padded before it.
        side = int(self.tokenizer.padding_side == "right")
        encoded = self.tokenizer(
            *((question, pair["context"]) if side else (pair["context"], question)),
            padding=padding,
            truncation="only_second" if side else "only_first",
            max_length=longest,
            stride=stride if stride < room else room // 2,
            return_overflowing_tokens=True,
            return_token_type_ids=True,
        )
        for number, encoding in enumerate(encoded.encodings):
            yield {
                **{name: torch.tensor([encoded[name][number]]) for name in self._inputs},
                "p_mask": torch.tensor([[int(sequence != side) for sequence in encoding.sequence_ids]]),
                "encoding": encoding,
                "pair": pair,
                "question_cut": cut,
                "is_last": number == len(encoded.encodings) - 1,
            }

    def _question(self, text: str, most: int, longest: int) -> tuple[str, int, bool]:
        """The question's first `most` tokens as text, how many of the context there is room for beside them, and
        whether the question has more."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"][:most]
        room = longest - len(offsets) - self.tokenizer.num_special_tokens_to_add(pair=True)
        if room < 1:
            raise NoRoom(f"the question leaves no room for the context in {longest} tokens; raise max_seq_len")
        cut = len(encoded["offset_mapping"]) > most
        return text[: offsets[-1][1]] if cut else text, room, cut

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        output = self.model(**{name: model_inputs[name] for name in self._inputs})
        kept = {name: model_inputs[name] for name in ("input_ids", "p_mask", "encoding", "pair", "is_last")}
        # Half precision has no place in the sums that follow, and numpy knows no bfloat16.
        return {"start": output.start_logits.float(), "end": output.end_logits.float(), **kept}

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        none_at_all = 1.0  # probability that the answer is empty: the least of all chunks
        for chunk in model_outputs:
            allowed = chunk["p_mask"][0].numpy() == 0  # (tokens,)
            # The first token stands for "no answer": it takes its share of the probability, and is no answer itself.
            null = np.flatnonzero(chunk["input_ids"][0].numpy() == self.tokenizer.cls_token_id)[:1]
            counted = allowed.copy()
            counted[null] = True
            start, end = (spans.probabilities(chunk[name][0].numpy(), counted) for name in ("start", "end"))
            none_at_all = min(none_at_all, float((start[null] * end[null]).sum()))
            for first, last, score in spans.best(start, end, allowed, top_k, max_answer_len):
                answers.append(self._answer(chunk, first, last, score, align_to_words))
        if handle_impossible_answer or not answers:
            answers.append(_answer("", 0, 0, none_at_all if handle_impossible_answer else 0.0))
        answers = sorted(answers, key=lambda answer: -answer["score"])[:top_k]
        return answers[0] if len(answers) == 1 else answers

    def _answer(self, chunk: dict[str, Any], first: int, last: int, score: float, words: bool) -> dict[str, Any]:
        encoding, context = chunk["encoding"], chunk["pair"]["context"]
        start, end = encoding.offsets[first][0], encoding.offsets[last][1]
        numbers = encoding.token_to_word(first), encoding.token_to_word(last)
        if words and None not in numbers:  # some tokenizers know no words
            side = encoding.token_to_sequence(first)
            start, end = encoding.word_to_chars(numbers[0], side)[0], encoding.word_to_chars(numbers[1], side)[1]
        return _answer(context, start, end, score)


def _answer(context: str, start: int, end: int, score: float) -> dict[str, Any]:
    return {"score": score, "start": start, "end": end, "answer": context[start:end]}


def _given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
