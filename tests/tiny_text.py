"""Components of tiny models that read text, tables and documents."""

from __future__ import annotations

import copy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import transformers as tf

from tests import tiny

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": tiny.POSITIONS,
    "initializer_range": 0.4,
}


def words() -> Any:
    """A word tokenizer that knows a mask, too."""
    tokenizer = tiny.word_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    tokenizer.model_max_length = tiny.POSITIONS
    return tokenizer


def labels(*names: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


def _bert(cls: Any, **config: Any) -> dict[str, Any]:
    tokenizer = words()
    return {"model": cls(tf.BertConfig(vocab_size=len(tokenizer), **SMALL, **config)), "tokenizer": tokenizer}


def text_classification() -> dict[str, Any]:
    return _bert(tf.BertForSequenceClassification, **labels("bad", "fair", "good"))


def token_classification() -> dict[str, Any]:
    return _bert(tf.BertForTokenClassification, **labels("B-PER", "I-PER", "B-LOC"))


def fill_mask() -> dict[str, Any]:
    return _bert(tf.BertForMaskedLM)


def feature_extraction() -> dict[str, Any]:
    return _bert(tf.BertModel)


def zero_shot_classification() -> dict[str, Any]:
    return _bert(tf.BertForSequenceClassification, **labels("contradiction", "neutral", "entailment"))


@cache
def _trained() -> Any:
    return tiny.byte_tokenizer()


def byte_pairs() -> Any:
    """A tokenizer of byte pairs, trained once: its trainer numbers pieces of equal count by chance."""
    return copy.deepcopy(_trained())


def decision() -> dict[str, Any]:
    tokenizer = byte_pairs()
    tokenizer.add_tokens(["Yes", "No"])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    return _gpt2(tokenizer)


def text_generation() -> dict[str, Any]:
    return _gpt2(byte_pairs())


def _gpt2(tokenizer: Any) -> dict[str, Any]:
    config = tf.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=tiny.POSITIONS,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
    )
    model: Any = tf.GPT2LMHeadModel(config)
    model.generation_config.max_new_tokens = 6
    # The pipeline samples unless it is told otherwise, in MLflow too: here among one token.
    model.generation_config.do_sample, model.generation_config.top_k = True, 1
    return {"model": model, "tokenizer": tokenizer}


def endless_generation() -> dict[str, Any]:
    """Positions are computed and no token ends a text: it writes for as long as it is told to."""
    tokenizer = byte_pairs()
    small = {**SMALL, "max_position_embeddings": 8192}
    config = tf.LlamaConfig(
        vocab_size=len(tokenizer), num_key_value_heads=4, bos_token_id=0, eos_token_id=None, **small
    )
    return {"model": tf.LlamaForCausalLM(config), "tokenizer": tokenizer}


def table_question_answering() -> dict[str, Any]:
    # Written down and read: this tokenizer takes its vocabulary from a file only.
    with tempfile.TemporaryDirectory() as directory:
        vocabulary = Path(directory) / "vocab.txt"
        pieces = words().get_vocab()
        vocabulary.write_text("\n".join([*sorted(pieces, key=pieces.__getitem__), "[EMPTY]"]))
        tokenizer = tf.TapasTokenizer(str(vocabulary), model_max_length=tiny.POSITIONS)
    config = tf.TapasConfig(vocab_size=len(tokenizer), **SMALL)
    return {"model": tf.TapasForQuestionAnswering(config), "tokenizer": tokenizer}


def document_question_answering() -> dict[str, Any]:
    tokenizer = words()
    config = tf.LayoutLMConfig(vocab_size=len(tokenizer), max_2d_position_embeddings=1024, **SMALL)
    return {"model": tf.LayoutLMForQuestionAnswering(config), "tokenizer": tokenizer}
