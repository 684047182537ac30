"""What is compared: for every task some models that differ in how a batch could change an answer, random rows, params.

A case costs a row at the bare pipeline some milliseconds; those that cost more than 20 have fewer rows and say so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import transformers as tf

from tests import tiny_native
from tests.differential import by_hand, draws, models
from tests.differential.rows import Asked, Params
from warmlane_workers.tasks.native import plain

#: Draws a row for a pipeline that is called with some params.
Draw = Callable[[Random, Any, Params], Asked]


def called(pipe: Any, asked: Asked, params: Params) -> Any:
    """What the bare pipeline answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return plain(pipe(*asked.args, **asked.kwargs, **params))


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        task: the pipeline's.
        make: its components.
        draw: one random row.
        params: a job has one of these.
        answer: what a row alone is answered.
        share: of the rows that a task has in a run; its cases come to 1, or less where a row is slow.
    """

    task: str
    make: Callable[[], dict[str, Any]]
    draw: Draw
    params: tuple[Params, ...] = ({},)
    answer: Callable[[Any, Asked, Params], Any] = called
    share: float = 1.0


def _classified(pipe: Any, asked: Asked, params: Params) -> Any:
    """The pipeline answers a text with a list of one, a pair with that one."""
    found = called(pipe, asked, params)
    return found[0] if isinstance(found, list) and "top_k" not in params else found


# -- the table -------------------------------------------------------------------------------------------------------

_LABELS: tuple[Params, ...] = ({}, {"top_k": None}, {"top_k": 2}, {"truncation": True})
_TAGS: tuple[Params, ...] = tuple({"aggregation_strategy": name} for name in ("none", "simple", "first", "max"))
_NLI: tuple[Params, ...] = ({}, {"multi_label": True})
_GREEDY: Params = {"do_sample": False, "max_new_tokens": 5}
#: Some rows of a batch end before the others.
_ENDS: Params = {"eos_token_id": list(range(0, 300, 9))}
_WRITTEN: tuple[Params, ...] = (
    _GREEDY,
    {**_GREEDY, **_ENDS},
    {**_GREEDY, **_ENDS, "num_beams": 2},
    {**_GREEDY, "return_full_text": False},
    {**_GREEDY, "num_beams": 2},
    {**_GREEDY, "repetition_penalty": 3.0},
    {"do_sample": False, "max_length": 24},
)
_TEXTS: tuple[Params, ...] = (
    {},
    {"max_new_tokens": 4, "num_beams": 1},
    {"max_new_tokens": 6, "num_beams": 3},
    {"max_new_tokens": 6, **_ENDS},
)
_LANGUAGES: tuple[Params, ...] = tuple(
    {"src_lang": "en_XX", "tgt_lang": target, "max_new_tokens": 6} for target in ("fr_XX", "de_DE")
)


def _bare(kind: str, draw: Draw, *params: Params, share: float = 1.0) -> Case:
    """A tiny pipeline that other tests have, too."""
    task, make = {**tiny_native.MAKERS, **tiny_native.OTHERS}[kind]
    return Case(task, make, draw, params or ({},), share=share)


def _labels(make: Any, *, share: float = 0.2) -> Case:
    return Case("text-classification", make, draws.text_or_pair, _LABELS, _classified, share)


def _features(make: Any, *, share: float = 0.2) -> Case:
    return Case("feature-extraction", make, draws.text, ({},), share=share)


def _writer(make: Any, *, share: float = 0.2) -> Case:
    return Case("text-generation", make, draws.prompt, _WRITTEN, share=share)


def _maker(
    task: str, make: Any, share: float = 0.5, params: tuple[Params, ...] = _TEXTS, draw: Draw = draws.text
) -> Case:
    return Case(task, make, draw, params, by_hand.text_to_text, share)


CASES: Mapping[str, Case] = {
    "labels-bert": _labels(partial(models.bert, tf.BertForSequenceClassification)),
    "labels-distilbert": _labels(partial(models.distilbert, tf.DistilBertForSequenceClassification)),
    "labels-roberta": _labels(partial(models.roberta, tf.RobertaForSequenceClassification)),
    "labels-bart": _labels(partial(models.bart, tf.BartForSequenceClassification)),
    "labels-gpt2": _labels(partial(models.gpt2, tf.GPT2ForSequenceClassification, pad=0), share=0.1),
    "labels-bert-left": _labels(
        models.from_the_left(partial(models.bert, tf.BertForSequenceClassification)), share=0.1
    ),
    "labels-gpt2-left": _labels(
        models.from_the_left(partial(models.gpt2, tf.GPT2ForSequenceClassification, pad=0)), share=0.1
    ),
    "features-gpt2-left": _features(models.from_the_left(partial(models.gpt2, tf.GPT2Model)), share=0.1),
    "summary-bart-left": _maker("summarization", models.from_the_left(models.bart_writer), 0.2),
    "tags-bert-left": Case(
        "token-classification",
        models.from_the_left(partial(models.bert, tf.BertForTokenClassification)),
        draws.text,
        _TAGS,
        share=0.1,
    ),
    "labels-gpt2-unpadded": _labels(partial(models.gpt2, tf.GPT2ForSequenceClassification), share=0.1),
    "tags-bert": Case(
        "token-classification", partial(models.bert, tf.BertForTokenClassification), draws.text, _TAGS, share=0.4
    ),
    "tags-roberta": Case(
        "token-classification", partial(models.roberta, tf.RobertaForTokenClassification), draws.text, _TAGS, share=0.4
    ),
    "tags-words": _bare("token-classification", draws.text, *_TAGS, share=0.2),
    "masks-bert": Case(
        "fill-mask",
        partial(models.bert, tf.BertForMaskedLM),
        draws.masked,
        ({}, {"top_k": 2}, {"targets": ["cat", "dog"]}),
        share=0.5,
    ),
    "masks-roberta": Case(
        "fill-mask", partial(models.roberta, tf.RobertaForMaskedLM), draws.masked, ({}, {"top_k": 1}), share=0.5
    ),
    "features-bert": _features(partial(models.bert, tf.BertModel)),
    "features-distilbert": _features(partial(models.distilbert, tf.DistilBertModel)),
    "features-mpnet": _features(models.mpnet),
    "features-gpt2": _features(partial(models.gpt2, tf.GPT2Model), share=0.1),
    "features-convbert": _features(models.convbert),
    "features-fnet": _features(models.fnet),
    "features-bart": _features(partial(models.bart, tf.BartModel)),
    "zero-shot-bert": Case(
        "zero-shot-classification",
        partial(models.bert, tf.BertForSequenceClassification, **models.NLI),
        draws.zero_shot,
        _NLI,
        share=0.5,
    ),
    "zero-shot-bart": Case(
        "zero-shot-classification",
        partial(models.bart, tf.BartForSequenceClassification, **models.NLI),
        draws.zero_shot,
        _NLI,
        share=0.5,
    ),
    "writes-gpt2": _writer(partial(models.gpt2, tf.GPT2LMHeadModel)),
    "writes-llama": _writer(models.llama),
    "writes-mistral": _writer(models.mistral),
    "writes-opt": _writer(models.opt),
    "writes-bloom": _writer(models.bloom),
    "text2text-t5": _maker("text2text-generation", models.t5),
    "text2text-bart": _maker("text2text-generation", models.bart_writer),
    "summary-t5": _maker("summarization", models.t5),
    "summary-bart": _maker("summarization", models.bart_writer),
    "translation-t5": _maker("translation_en_to_fr", models.t5, 0.3),
    "translation-marian": _maker("translation", models.marian, 0.4),
    "translation-mbart": _maker("translation", models.mbart, 0.3, _LANGUAGES, draws.letters),
    "chat-gpt2": Case(
        "conversational", models.chatter, draws.said, (_GREEDY, {**_GREEDY, "num_beams": 2}), by_hand.chat
    ),
    "question-bert": Case(
        "question-answering",
        models.reader,
        draws.question,
        ({}, {"doc_stride": 8, "max_answer_len": 4}, {"align_to_words": False}),
        by_hand.span,
        0.5,
    ),
    "question-distilbert": Case(
        "question-answering",
        partial(models.distilbert, tf.DistilBertForQuestionAnswering),
        draws.question,
        ({}, {"doc_stride": 8, "max_answer_len": 4}, {"align_to_words": False}),
        by_hand.span,
        0.5,
    ),
    "table": _bare("table-question-answering", draws.table),
    "decision": _bare("decision", draws.decision),
    "speech-ctc": _bare(
        "speech-ctc", draws.sound, {}, {"return_timestamps": "char"}, {"chunk_length_s": 0.2, "stride_length_s": 0.05}
    ),
    # A row costs 300 ms: the model always reads 30 s.
    "speech-whisper": _bare("speech-whisper", draws.sound, {"max_new_tokens": 4}, share=0.03),
    "sounds-wav2vec2": _bare("audio-classification", draws.sound, {}, {"top_k": 2}, share=0.5),
    "sounds-spectrum": Case("audio-classification", models.sound_spectrum, draws.sound, ({}, {"top_k": 1}), share=0.5),
    "sounds-zero-shot": _bare("zero-shot-audio-classification", draws.labelled_sound),
    "speaks": _bare("text-to-audio", draws.letters),
    "pictures-vit": _bare("image-classification", draws.picture, {}, {"top_k": 2}, share=0.5),
    "pictures-resnet": Case("image-classification", models.resnet, draws.picture, ({}, {"top_k": 1}), share=0.5),
    "pictures-features": _bare("image-feature-extraction", draws.picture),
    "pictures-objects": _bare("object-detection", draws.picture, {"threshold": 0.0}, {"threshold": 0.4}),
    "pictures-segments": _bare("image-segmentation", draws.picture),
    "pictures-depth": _bare("depth-estimation", draws.picture),
    "pictures-zero-shot": _bare(
        "zero-shot-image-classification", draws.labelled_picture, {}, {"hypothesis_template": "a {}"}
    ),
    "pictures-zero-shot-objects": _bare("zero-shot-object-detection", draws.labelled_picture, {"threshold": 0.0}),
    "pictures-documents": _bare("document-question-answering", draws.document),
    "pictures-and-texts": _bare("image-text-to-text", draws.picture_and_text, {"max_new_tokens": 3}),
    "pictures-matched": _bare("keypoint-matching", draws.two_pictures, {"threshold": 0.01}),
}
